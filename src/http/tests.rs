mod hostile;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::inference::BODY_LIMIT;
use super::*;
use crate::model::reference::Selector;
use crate::model::signature::MIN_FEATURES;
use crate::model::store::Store;
use crate::monitor::metrics::{CATALOGUE, TEXT_FORMAT};
use crate::monitor::testing::{arithmetic, flights};

fn tokens() -> Tokens {
    serde_json::from_value(json!(["right"])).unwrap()
}

/// A server on a free port: route `flights` with version 7 of the model of that name, `sums` with `arithmetic`, and
/// `late`, whose slot is empty.
struct Server {
    address: SocketAddr,
    health: Health,
    late: Arc<Slot>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
    store: tempfile::TempDir,
}

impl Server {
    async fn start() -> Server {
        Server::start_with(ServerLimits::DEFAULT).await
    }

    async fn start_with(limits: ServerLimits) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = |route: &str, model: &str| ServedRoute {
            route: route.into(),
            reference: ModelRef { name: model.into(), selector: Selector::Latest },
            slot: Arc::new(Slot::new()),
            gate: Arc::new(Gate::new(1.0, Duration::from_secs(5), Instant::now())),
            min_features: if route == "late" { 1.0 } else { MIN_FEATURES },
            threshold: None,
        };
        let routes = vec![served("flights", "flights"), served("sums", "arithmetic"), served("late", "weather")];
        routes[0].slot.store(Arc::new(flights(7)));
        routes[1].slot.store(Arc::new(arithmetic(3)));
        let late = Arc::clone(&routes[2].slot);
        let health = Health::default();
        let store = tempfile::tempdir().unwrap();
        let pauses = Pauses::new(Store::open(store.path().to_str().unwrap()).unwrap(), "group");
        let metrics = Metrics::new(Duration::from_secs(60));
        let state = State { metrics, health: health.clone(), routes, tokens: tokens(), pauses };
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { stopped.await.unwrap() };
        let served = tokio::spawn(serve_with(listener, state, limits, shutdown));
        Server { address, health, late, store, stop: Some(stop), served }
    }

    /// Status, content type and body.
    async fn request(&self, method: &str, path: &str, body: Vec<u8>) -> (u16, String, String) {
        let request = axum::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        self.send(request.body(body).unwrap()).await
    }

    async fn send(&self, request: axum::http::Request<Vec<u8>>) -> (u16, String, String) {
        let call = move || {
            let config = ureq::Agent::config_builder().http_status_as_error(false).build();
            let mut response = config.new_agent().run(request).unwrap();
            let kind = response.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
            (response.status().as_u16(), kind, response.body_mut().read_to_string().unwrap())
        };
        tokio::task::spawn_blocking(call).await.unwrap()
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = self.request("GET", path, Vec::new()).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn infer(&self, model: &str, request: Value) -> (u16, Value) {
        let path = format!("/v2/models/{model}/infer");
        let (status, _, body) = self.request("POST", &path, request.to_string().into_bytes()).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    /// The error of a request that must be refused with 400.
    async fn refused(&self, model: &str, inputs: Value) -> String {
        let (status, body) = self.infer(model, json!({ "inputs": inputs })).await;
        assert_eq!(status, 400, "{body}");
        body["error"].as_str().unwrap().to_owned()
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.served.await.unwrap();
    }
}

fn tensor(name: &str, datatype: &str, shape: &[usize], data: Value) -> Value {
    json!({ "name": name, "datatype": datatype, "shape": shape, "data": data })
}

#[tokio::test]
async fn metrics_are_exposed_as_text() {
    let server = Server::start().await;
    let (status, kind, text) = server.request("GET", "/metrics", Vec::new()).await;
    assert_eq!((status, kind.as_str()), (200, TEXT_FORMAT));
    let exposed: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    assert!(exposed.iter().any(|(name, _)| *name == "weir_build_info"), "{text}");
    for (name, kind) in exposed {
        assert!(CATALOGUE.iter().any(|entry| entry.name == name && entry.kind.as_str() == kind), "{name} {kind}");
    }
    server.stop().await;
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let server = Server::start().await;
    let worker = server.health.readiness_check("worker 0", "joining the group");
    for path in ["/readyz", "/v2/health/ready"] {
        let reasons = json!(["worker 0: joining the group", "route late: no model loaded yet"]);
        assert_eq!(server.get(path).await, (503, json!({ "ready": false, "reasons": reasons })));
        assert_eq!(server.get(&path.replace("ready", "live")).await, (200, json!({ "live": true })));
    }
    worker.ready();
    assert_eq!(server.get("/readyz").await.0, 503);
    server.late.store(Arc::new(arithmetic(1)));
    assert_eq!(server.get("/readyz").await, (200, json!({ "ready": true })));
    worker.not_ready("the broker is gone");
    assert_eq!(server.get("/readyz").await.0, 503);
    server.stop().await;
}

#[tokio::test]
async fn rows_need_the_share_of_features_that_their_route_asks_for() {
    let server = Server::start().await;
    server.late.store(Arc::new(flights(8)));
    let asked = json!({ "inputs": [
        tensor("delay", "FP64", &[1], json!([null])),
        tensor("origin", "BYTES", &[1], json!(["EWR"])),
    ] });
    let (status, answer) = server.infer("flights/versions/7", asked.clone()).await;
    assert_eq!(status, 200, "half of them are enough where nothing else is set: {answer}");
    let metrics = server.request("GET", "/metrics", Vec::new()).await.2;
    assert!(metrics.contains("weir_http_rows_total{route=\"flights\"} 1\n"), "{metrics}");
    assert!(metrics.contains("weir_http_inference_seconds_count{route=\"flights\"} 1\n"), "{metrics}");
    let (status, answer) = server.infer("flights/versions/8", asked).await;
    let error = answer["error"].as_str().unwrap();
    assert!(
        status == 400
            && error.contains("1 of the model's 2 features are missing")
            && error.contains("min_features is 1"),
        "{error}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_route_pauses_and_resumes_for_who_has_a_token() {
    let server = Server::start().await;
    let post = async |path: &str, token: &str| {
        let mut request = axum::http::Request::builder().method("POST").uri(format!("http://{}{path}", server.address));
        if !token.is_empty() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let (status, _, body) = server.send(request.body(Vec::new()).unwrap()).await;
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let answer =
        |paused: bool, changed: bool| json!({ "route": "sums", "paused": paused, "changed": changed, "lasting": true });
    assert_eq!(post("/admin/routes/sums/pause", "right").await, (200, answer(true, true)));
    let kept = std::fs::read_to_string(server.store.path().join("paused-routes.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), json!({ "group": ["sums"] }));
    assert_eq!(post("/admin/routes/sums/pause", "right").await, (200, answer(true, false)));
    assert_eq!(post("/admin/routes/sums/resume", "").await.0, 401);
    assert_eq!(post("/admin/routes/sums/resume", "wrong").await.0, 403);
    assert_eq!(post("/admin/routes/sums/resume", "right").await, (200, answer(false, true)));
    assert_eq!(post("/admin/routes/none/resume", "right").await.0, 404);
    assert_eq!(post("/admin/routes/sums/stop", "right").await.0, 404);
    // A store that is gone keeps nothing.
    std::fs::remove_dir_all(server.store.path()).unwrap();
    let (status, answer) = post("/admin/routes/sums/pause", "right").await;
    assert_eq!((status, &answer["paused"], &answer["lasting"]), (200, &json!(true), &json!(false)));
    server.stop().await;
}

#[tokio::test]
async fn metadata_names_inputs_and_outputs() {
    let server = Server::start().await;
    assert_eq!(server.get("/v2").await.1["name"], "weir");
    let (status, flights) = server.get("/v2/models/flights").await;
    assert_eq!(status, 200);
    assert_eq!(flights["versions"], json!(["7"]));
    assert_eq!(
        flights["inputs"],
        json!([
            { "name": "delay", "datatype": "FP64", "shape": [-1, 1] },
            { "name": "origin", "datatype": "BYTES", "shape": [-1, 1] },
        ])
    );
    assert_eq!(
        flights["outputs"],
        json!([
            { "name": "prediction", "datatype": "BYTES", "shape": [-1, 1] },
            { "name": "probabilities", "datatype": "FP32", "shape": [-1, 2] },
        ])
    );
    let (_, sums) = server.get("/v2/models/arithmetic/versions/3").await;
    assert_eq!(sums["outputs"], json!([{ "name": "prediction", "datatype": "FP32", "shape": [-1, 2] }]));
    assert_eq!(
        server.get("/v2/models/flights/versions/7/ready").await,
        (200, json!({ "name": "flights", "ready": true }))
    );
    server.stop().await;
}

#[tokio::test]
async fn a_request_for_what_does_not_exist_is_refused() {
    let server = Server::start().await;
    for path in ["/v2/models/zebra", "/v2/models/flights/versions/8", "/v2/models/flights/versions/x/ready", "/zebra"] {
        let (status, body) = server.get(path).await;
        assert_eq!(status, 404, "{path}");
        assert!(body["error"].is_string(), "{body}");
    }
    assert_eq!(server.get("/v2/models/weather/ready").await.0, 503, "configured, but not loaded");
    assert_eq!(server.get("/v2/models/flights/infer").await.0, 405);
    assert_eq!(server.infer("zebra", json!({})).await.0, 404);
    // The second is refused without being read, and its client gets the answer all the same.
    for size in [BODY_LIMIT + 1, 4 * BODY_LIMIT] {
        let (status, _, body) = server.request("POST", "/v2/models/flights/infer", vec![b' '; size]).await;
        assert_eq!(status, 413);
        assert!(serde_json::from_str::<Value>(&body).unwrap()["error"].is_string());
    }
    server.stop().await;
}

#[tokio::test]
async fn classes_come_with_their_probabilities() {
    let server = Server::start().await;
    let delay = tensor("delay", "FP32", &[4], json!([-50.0, null, 2, 0.0]));
    let origin = tensor("origin", "BYTES", &[4, 1], json!([["EWR"], ["EWR"], ["EWR"], ["JFK"]]));
    let request = json!({ "id": "42", "inputs": [origin, delay] });
    let (status, answer) = server.infer("flights", request.clone()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["model_name"], "flights");
    assert_eq!(answer["model_version"], "7");
    assert_eq!(answer["id"], "42");
    let [prediction, probabilities] = answer["outputs"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    let classes = json!(["on_time", "on_time", "late", "late"]);
    assert_eq!(*prediction, tensor("prediction", "BYTES", &[4, 1], classes));
    assert_eq!(probabilities["shape"], json!([4, 2]));
    let probability = |at: usize| probabilities["data"][at].as_f64().unwrap();
    // A missing delay is 0: the logit is 0. A delay of 2 is a logit of 2.
    assert_eq!((probability(2), probability(3)), (0.5, 0.5));
    assert!((probability(5) - 1.0 / (1.0 + (-2.0_f64).exp())).abs() < 1e-6);

    let mut fewer = request;
    fewer["outputs"] = json!([{ "name": "prediction" }]);
    let (_, answer) = server.infer("flights/versions/7", fewer).await;
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn numbers_may_come_as_one_tensor() {
    let server = Server::start().await;
    let sums = tensor("prediction", "FP32", &[2, 2], json!([5.0, -1.0, 3.0, 1.0]));
    for data in [json!([2, 3, 2, 1]), json!([[2.0, 3.0], [2.0, 1.0]])] {
        let inputs = json!([tensor("any", "FP64", &[2, 2], data)]);
        let (_, answer) = server.infer("arithmetic", json!({ "inputs": inputs })).await;
        assert_eq!(answer["outputs"], json!([sums]), "{answer}");
    }
    let inputs = json!([tensor("a", "INT64", &[2], json!([2, 2])), tensor("b", "BOOL", &[2], json!([true, false]))]);
    let (_, answer) = server.infer("arithmetic", json!({ "inputs": inputs })).await;
    assert_eq!(answer["outputs"][0]["data"], json!([3.0, 1.0, 2.0, 2.0]));
    server.stop().await;
}

#[tokio::test]
async fn bad_requests_name_the_tensor_or_the_row() {
    let server = Server::start().await;
    let delay = |data: Value| tensor("delay", "FP64", &[2], data);
    let origin = tensor("origin", "BYTES", &[2], json!(["EWR", "JFK"]));
    let cases = [
        (json!([]), "no inputs"),
        (json!([tensor("zebra", "FP64", &[2], json!([1, 2]))]), "input \"zebra\": the model has no feature"),
        (json!([delay(json!([1, 2])), delay(json!([1, 2]))]), "input \"delay\": it is there twice"),
        (json!([delay(json!([1, 2, 3]))]), "input \"delay\": shape [2] for 3 values"),
        (json!([delay(json!(["a", "b"]))]), "input \"delay\": a string at index 0 is no FP64"),
        (json!([tensor("delay", "BYTES", &[1], json!(["1"]))]), "input \"delay\": BYTES where"),
        (json!([tensor("origin", "BYTES", &[0], json!([]))]), "input \"origin\": 0 rows"),
        (json!([tensor("origin", "BYTES", &[8_193], json!(vec![""; 8_193]))]), "input \"origin\": 8193 rows"),
        (
            json!([tensor("delay", "FP64", &[usize::MAX, 2], json!([1, 2]))]),
            "input \"delay\": 18446744073709551615 rows",
        ),
        (json!([origin, tensor("delay", "FP64", &[3], json!([1, 2, 3]))]), "input \"delay\": shape [3] where [2]"),
        (json!([tensor("x", "FP64", &[1, 2], json!([1, 2]))]), "input \"x\": one tensor for all features"),
        (
            json!([delay(json!([1, 2])), tensor("origin", "BYTES", &[2], json!(["EWR", null]))]),
            "row 1: missing_feature",
        ),
        (json!([delay(json!([1, 2]))]), "row 0: missing_feature: feature \"origin\""),
        (json!([tensor("origin", "BOOL", &[1], json!([true]))]), "row 0: wrong_type"),
        (json!([tensor("origin", "TEXT", &[1], json!(["EWR"]))]), "unknown variant `TEXT`"),
        (json!([tensor("origin", "BYTES", &[1], json!({}))]), "expected an array of numbers"),
        (json!([tensor("delay", "FP64", &[1], json!([1e300])), tensor("origin", "BYTES", &[1], json!(["EWR"]))]), "ok"),
        // As on a topic, a number may be a category.
        (json!([tensor("delay", "FP64", &[1], json!([1])), tensor("origin", "FP32", &[1], json!([1]))]), "ok"),
    ];
    for (inputs, expected) in cases {
        if expected == "ok" {
            // An infinite logit is a certain class, not an error.
            assert_eq!(server.infer("flights", json!({ "inputs": inputs })).await.0, 200);
            continue;
        }
        let error = server.refused("flights", inputs).await;
        assert!(error.contains(expected), "{error:?}, not {expected:?}");
    }
    let error = server.refused("arithmetic", json!([tensor("x", "FP64", &[1, 3], json!([1, 2, 3]))])).await;
    assert!(error.contains("2 features"), "{error}");
    let error = server.refused("arithmetic", json!([tensor("x", "FP64", &[1, 2], json!([1e300, 2]))])).await;
    assert!(error.contains("row 0: prediction_not_finite"), "{error}");
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let bomb = format!(r#"{{"inputs":[{{"name":"delay","datatype":"FP64","shape":[1],"data":{nested}}}]}}"#);
    let (status, _, body) = server.request("POST", "/v2/models/flights/infer", bomb.into_bytes()).await;
    assert_eq!(status, 400, "{body}");
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_up_the_shutdown() {
    let limits = ServerLimits { grace: Duration::from_millis(50), ..ServerLimits::DEFAULT };
    let server = Server::start_with(limits).await;
    // The server answers "continue" when the handler begins to wait for the body.
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    let head =
        "POST /v2/models/flights/infer HTTP/1.1\r\nhost: weir\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    let waiting = tokio::task::spawn_blocking(move || stream.read_exact(&mut answer).map(|()| (stream, answer)));
    let (_stream, answer) = waiting.await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    tokio::time::timeout(Duration::from_secs(10), server.stop()).await.expect("the shutdown hangs");
}
