"""MLServer's custom runtime for the benchmark: MODEL (by matrix.py) by ONNX Runtime.

A request has one input, N x F numbers in one flat list; the response has the output `label`, N texts, and
`probabilities`, N x classes.
"""

import json
import os

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class OnnxRuntime(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        self.classes = json.loads(self.session.get_modelmeta().custom_metadata_map["classes"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        # Past MLServer's codecs, which take longer.
        (request,) = payload.inputs
        matrix = np.array(request.data.root, dtype=np.float32).reshape(request.shape)
        (probabilities,) = self.session.run(["probabilities"], {"features": matrix})
        labels = [self.classes[index] for index in probabilities.argmax(1).tolist()]
        return InferenceResponse(
            id=payload.id,
            model_name=self.name,
            outputs=[
                ResponseOutput(name="label", shape=[len(labels)], datatype="BYTES", data=labels),
                ResponseOutput(
                    name="probabilities",
                    shape=list(probabilities.shape),
                    datatype="FP32",
                    data=probabilities.ravel().tolist(),
                ),
            ],
        )
