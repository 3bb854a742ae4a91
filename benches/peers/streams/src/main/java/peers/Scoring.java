package peers;

import ai.onnxruntime.OrtException;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.SerializableString;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.StreamWriteFeature;
import com.fasterxml.jackson.core.io.SerializedString;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;

/**
 * A record's JSON to its prediction's, in weir's form. Nothing is bound to objects: Jackson's tokens become the row's
 * numbers, and names that are written are encoded once. Each stream task has its own.
 */
final class Scoring extends ContextualProcessor<byte[], byte[], byte[], Prediction> {
  private static final JsonFactory JSON =
      JsonFactory.builder()
          .enable(StreamReadFeature.USE_FAST_DOUBLE_PARSER)
          .enable(StreamWriteFeature.USE_FAST_DOUBLE_WRITER)
          .build();
  private static final SerializableString ID = new SerializedString("id");
  private static final SerializableString PREDICTION = new SerializedString("prediction");
  private static final SerializableString PROBABILITIES = new SerializedString("probabilities");
  private static final SerializableString MODEL = new SerializedString("model");
  private static final SerializableString VERSION = new SerializedString("version");

  private final Model model;
  private final Model.Row row;
  private final Map<String, Integer> columns = new HashMap<>();
  private final SerializableString[] classes;
  private final SerializableString name;
  private final float[] features;
  private final float[] probabilities;
  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream(256);

  Scoring(Model model) {
    try {
      this.model = model;
      row = model.row();
    } catch (OrtException e) {
      throw new IllegalStateException(e);
    }
    for (int column = 0; column < model.features; column++) {
      columns.put("f" + column, column);
    }
    classes = Arrays.stream(model.classes).map(SerializedString::new).toArray(SerializableString[]::new);
    name = new SerializedString(model.name);
    features = new float[model.features];
    probabilities = new float[classes.length];
  }

  @Override
  public void process(Record<byte[], byte[]> record) {
    // Streams gives every record of a topic its origin.
    int partition = context().recordMetadata().orElseThrow().partition();
    try {
      context().forward(record.withValue(new Prediction(partition, predict(record.value()))));
    } catch (IOException | OrtException e) {
      throw new IllegalArgumentException("a record can't be scored", e);
    }
  }

  private byte[] predict(byte[] value) throws IOException, OrtException {
    bytes.reset();
    try (JsonParser in = JSON.createParser(value);
        JsonGenerator out = JSON.createGenerator(bytes)) {
      out.writeStartObject();
      read(in, out);
      row.features.put(0, features);
      row.score();
      row.probabilities.get(0, probabilities);
      write(out);
      out.writeEndObject();
    }
    return bytes.toByteArray();
  }

  /** Fills the features; the id is copied as it comes. */
  private void read(JsonParser in, JsonGenerator out) throws IOException {
    int found = 0;
    if (in.nextToken() != JsonToken.START_OBJECT) {
      throw new IOException("no JSON object");
    }
    for (String member = in.nextFieldName(); member != null; member = in.nextFieldName()) {
      JsonToken token = in.nextToken();
      Integer column = columns.get(member);
      if (column != null) {
        features[column] = in.getFloatValue();
        found++;
      } else if (member.equals("features")) {
        while (in.nextToken() != JsonToken.END_ARRAY) {
          features[found++] = in.getFloatValue();
        }
      } else if (member.equals("id")) {
        out.writeFieldName(ID);
        out.copyCurrentEvent(in);
      } else if (token.isStructStart()) {
        in.skipChildren();
      }
    }
    if (found != features.length) {
      throw new IOException(found + " features");
    }
  }

  private void write(JsonGenerator out) throws IOException {
    int best = 0;
    for (int index = 1; index < probabilities.length; index++) {
      if (probabilities[index] > probabilities[best]) {
        best = index;
      }
    }
    out.writeFieldName(PREDICTION);
    out.writeString(classes[best]);
    out.writeFieldName(PROBABILITIES);
    out.writeStartObject();
    for (int index = 0; index < probabilities.length; index++) {
      out.writeFieldName(classes[index]);
      out.writeNumber(probabilities[index]);
    }
    out.writeEndObject();
    out.writeFieldName(MODEL);
    out.writeString(name);
    out.writeFieldName(VERSION);
    out.writeNumber(model.version);
  }
}
