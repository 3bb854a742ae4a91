package peers;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Map;
import java.util.Set;

/** The ONNX model: one session for all threads, which is safe, and a row of buffers for each of them. */
final class Model {
  final int features;
  final String[] classes;
  final String name;
  final long version;
  private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
  private final OrtSession session;

  Model(String path, int features) throws Exception {
    OrtSession.SessionOptions options = new OrtSession.SessionOptions();
    options.setIntraOpNumThreads(1);
    options.setInterOpNumThreads(1);
    this.features = features;
    session = environment.createSession(path, options);
    Map<String, String> about = session.getMetadata().getCustomMetadata();
    classes = new ObjectMapper().readValue(about.get("classes"), String[].class);
    name = about.get("model");
    version = Long.parseLong(about.get("version"));
  }

  Row row() throws OrtException {
    return new Row();
  }

  /** One record's features and probabilities, in memory that ONNX Runtime reads and writes without a copy. */
  final class Row {
    final FloatBuffer features = floats(Model.this.features);
    final FloatBuffer probabilities = floats(classes.length);
    private final Map<String, OnnxTensor> inputs = Map.of("features", tensor(features));
    private final Map<String, OnnxTensor> outputs = Map.of("probabilities", tensor(probabilities));

    private Row() throws OrtException {}

    void score() throws OrtException {
      // The result only points to the pinned output; there is nothing in it to close.
      session.run(inputs, Set.of(), outputs);
    }

    private OnnxTensor tensor(FloatBuffer values) throws OrtException {
      return OnnxTensor.createTensor(environment, values, new long[] {1, values.capacity()});
    }

    private static FloatBuffer floats(int count) {
      return ByteBuffer.allocateDirect(count * Float.BYTES).order(ByteOrder.nativeOrder()).asFloatBuffer();
    }
  }
}
