//! Clients that don't play by the rules, on raw sockets: each gets an error or is closed, and probes are answered.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::monitor::metrics::Metrics;

/// How long anything may take on a loaded machine before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a thread of its own, as the clients here block.
struct HostedServer {
    address: SocketAddr,
    metrics: Metrics,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl HostedServer {
    /// The server of the other tests, with these limits.
    fn start(limits: ServerLimits) -> HostedServer {
        let slot = Arc::new(Slot::new());
        slot.store(Arc::new(flights(7)));
        let served = ServedRoute {
            route: "flights".into(),
            reference: ModelRef { name: "flights".into(), selector: Selector::Latest },
            slot,
            gate: Arc::new(Gate::new(1.0, PATIENCE, Instant::now())),
            min_features: 0.5,
            threshold: None,
        };
        let metrics = Metrics::new(PATIENCE);
        let health = Health::default();
        // Nothing is paused here.
        let pauses = Pauses::new(Store::open("nowhere").unwrap(), "group");
        let state = State { metrics: metrics.clone(), health, routes: vec![served], tokens: tokens(), pauses };
        HostedServer::start_router(router(state, limits), metrics, limits)
    }

    fn start_router(router: Router, metrics: Metrics, limits: ServerLimits) -> HostedServer {
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, address) = mpsc::channel();
        let counted = metrics.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                connections::serve(listener, router, counted, limits, async { drop(stopped.await) }).await;
            });
        });
        HostedServer { address: address.recv().unwrap(), metrics, stop: Some(stop), thread: Some(thread) }
    }

    /// A connection on which this has been sent.
    fn send(&self, request: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_ref()).unwrap();
        stream
    }

    /// Everything that is answered to a request until the server closes.
    fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        rest(self.send(request))
    }

    /// Fails unless a probe and a scrape are answered on connections of their own.
    fn assert_probes_are_answered(&self) {
        for (path, expected) in [("/livez", "200"), ("/readyz", "503"), ("/metrics", "200")] {
            let answer = self.exchange(format!("GET {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n"));
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{path}: {answer:?}");
        }
    }

    /// Waits until this sample of the metrics is this.
    fn await_sample(&self, sample: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.metrics.render().unwrap().lines().any(|line| line == sample) {
            assert!(Instant::now() < deadline, "waited in vain for {sample}");
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for HostedServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

/// What a connection still brings until it is closed in whatever way.
fn rest(mut stream: TcpStream) -> String {
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&answer)),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The head of an inference request, its body to follow.
fn infer_head(length: usize) -> String {
    format!("POST /v2/models/flights/infer HTTP/1.1\r\nHost: weir\r\nContent-Length: {length}\r\n\r\n")
}

#[test]
fn odd_requests_are_answered_or_refused() {
    let server = HostedServer::start(ServerLimits::DEFAULT);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n");
    let with = |headers: &str| format!("GET /livez HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n{headers}\r\n");
    let many = (0..200).map(|n| format!("x{n}: 1\r\n")).collect::<String>();
    let chunked = |chunks: &str| {
        format!(
            "POST /v2/models/flights/infer HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\
             Transfer-Encoding: chunked\r\n\r\n{chunks}"
        )
    };
    let cases: Vec<(String, &[&str])> = vec![
        ("GET /livez HTTP/1.0\r\n\r\n".into(), &["HTTP/1.0 200"]),
        (format!("{}{}", get("/livez").replace("Connection: close\r\n", ""), get("/v2")), &["HTTP/1.1 200", "weir"]),
        (get("http://elsewhere/livez"), &["HTTP/1.1 200"]),
        (get("/v2/models/fl%69ghts"), &["HTTP/1.1 200"]),
        (get("/v2/models/%ff"), &["HTTP/1.1 400", r#"{"error":"#]),
        (get("/v2/models/%00"), &["HTTP/1.1 404"]),
        (get("/v2/models/flights/../flights"), &["HTTP/1.1 404"]),
        (get("/%2e%2e/metrics"), &["HTTP/1.1 404"]),
        (get("//livez"), &["HTTP/1.1 404"]),
        (get(&format!("/livez?{}", "q".repeat(8_000))), &["HTTP/1.1 200"]),
        (get(&format!("/livez?{}", "q".repeat(20_000))), &["HTTP/1.1 4"]),
        (get(&format!("/{}", "a".repeat(70_000))), &["HTTP/1.1 4"]),
        (get(&format!("/v2/models/{}", "a".repeat(10_000))), &["HTTP/1.1 404"]),
        (with(&many), &["HTTP/1.1 431"]),
        (with(&format!("x: {}\r\n", "y".repeat(20_000))), &["HTTP/1.1 431"]),
        (with("no colon\r\n"), &["HTTP/1.1 400"]),
        (with("Content-Length: -1\r\n"), &["HTTP/1.1 400"]),
        (with("Content-Length: 1\r\nContent-Length: 2\r\n"), &["HTTP/1.1 400"]),
        (with("Content-Length: 99999999999999999999\r\n"), &["HTTP/1.1 400"]),
        (with("Transfer-Encoding: gzip\r\n"), &["HTTP/1.1 400"]),
        ("get /livez HTTP/1.1\r\nConnection: close\r\n\r\n".into(), &["HTTP/1.1 405", r#"{"error":"#]),
        ("DELETE /metrics HTTP/1.1\r\nConnection: close\r\n\r\n".into(), &["HTTP/1.1 405"]),
        ("CONNECT weir:80 HTTP/1.1\r\nConnection: close\r\n\r\n".into(), &["HTTP/1.1 4"]),
        ("OPTIONS * HTTP/1.1\r\nConnection: close\r\n\r\n".into(), &["HTTP/1.1 4"]),
        ("GET /livez HTTP/3.0\r\n\r\n".into(), &["HTTP/1.1 400"]),
        ("\0\u{1}\u{2}\r\n\r\n".into(), &["HTTP/1.1 400"]),
        (chunked("2\r\n{}\r\n0\r\n\r\n"), &["HTTP/1.1 400", "missing field `inputs`"]),
        (chunked("fffffffffffffffff\r\n"), &["HTTP/1.1 400"]),
        (chunked("x\r\n"), &["HTTP/1.1 400"]),
        (chunked("-1\r\n"), &["HTTP/1.1 400"]),
        (
            "POST /admin/routes/%ff/pause HTTP/1.1\r\nConnection: close\r\n\r\n".into(),
            &["HTTP/1.1 401", r#"{"error":"#],
        ),
    ];
    for (request, expected) in cases {
        let answer = server.exchange(&request);
        let shown = &request[..request.len().min(100)];
        assert!(answer.starts_with(expected[0]), "{shown:?}: {answer:?}");
        assert!(expected.iter().all(|part| answer.contains(part)), "{shown:?}: {answer:?}");
    }
    // HTTP/2 without a negotiation: there is nothing to answer it with.
    server.exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    server.assert_probes_are_answered();
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = HostedServer::start(ServerLimits::DEFAULT);
    let body = r#"{"inputs":[{"name":"origin","shape":[1],"datatype":"BYTES","data":["JFK"]}]}"#;
    let one = format!("{}{body}GET /v2/models/zebra HTTP/1.1\r\nHost: weir\r\n\r\n", infer_head(body.len()));
    let last = "GET /livez HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n";
    let answer = server.exchange(one.repeat(50) + last);
    let statuses: Vec<_> = answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(statuses, [["200", "404"].repeat(50), vec!["200"]].concat());
}

#[test]
fn a_slow_client_is_closed() {
    let limits =
        ServerLimits { silence: Duration::from_millis(300), body: Duration::from_millis(300), ..ServerLimits::DEFAULT };
    let server = HostedServer::start(limits);
    // Nothing, half a head, and a connection that is kept alive.
    let silent =
        ["", "GET / HTTP/1.1\r\nHo", "GET /livez HTTP/1.1\r\nHost: weir\r\n\r\n"].map(|sent| server.send(sent));
    let [nothing, half, kept] = silent.map(rest);
    assert_eq!((nothing.as_str(), half.as_str()), ("", ""));
    assert!(kept.starts_with("HTTP/1.1 200"), "{kept}");
    server.await_sample("weir_http_connections_closed_total{reason=\"timeout\"} 3");

    let endless =
        "POST /v2/models/flights/infer HTTP/1.1\r\nHost: weir\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n";
    for request in [infer_head(100) + "{", endless.into()] {
        let answer = server.exchange(request);
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
    }
    // A head that never ends gains no time by its bytes: the thread ends when its connection is closed.
    let mut trickle = server.send("GET /livez HTTP/1.1\r\n");
    while trickle.write_all(b"x").is_ok() {
        thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn an_answer_that_nobody_reads_is_dropped() {
    let limits = ServerLimits { silence: Duration::from_millis(300), ..ServerLimits::DEFAULT };
    // More than the buffers of two sockets take.
    let large = get(async || vec![b'x'; 64 << 20]);
    let router = Router::new().route("/large", large);
    let server = HostedServer::start_router(router, Metrics::new(PATIENCE), limits);
    let unread = server.send("GET /large HTTP/1.1\r\nHost: weir\r\n\r\n");
    server.await_sample("weir_http_connections_closed_total{reason=\"timeout\"} 1");
    assert!(rest(unread).len() < 64 << 20);
}

#[test]
fn the_longest_waiting_connection_gives_way() {
    let limits = ServerLimits { connections: 4, queue: 2, places: 1, ..ServerLimits::DEFAULT };
    let server = HostedServer::start(limits);
    // One that is answered now, and so isn't waiting for its client: the server has asked for its body.
    let head = infer_head(2).replace("Host", "Expect: 100-continue\r\nHost");
    let mut busy = server.send(head);
    let mut asked = [0; 25];
    busy.read_exact(&mut asked).unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100"));
    let idle: Vec<_> = (0..20).map(|_| server.send("GET / HTTP/1.1\r\nHo")).collect();
    server.assert_probes_are_answered();
    // The probes had a place at the cost of those that had waited longest.
    for closed in idle.into_iter().take(17) {
        assert_eq!(rest(closed), "");
    }
    busy.write_all(b"{}").unwrap();
    busy.read_exact(&mut asked[..12]).unwrap();
    assert_eq!(&asked[..12], b"HTTP/1.1 400");
}

#[test]
fn probes_are_answered_while_inference_is_saturated() {
    let limits = ServerLimits { connections: 8, queue: 4, places: 2, ..ServerLimits::DEFAULT };
    let server = HostedServer::start(limits);
    // Two have places and stop short, two wait for a place, and their bodies aren't read.
    let slow: Vec<_> = (0..4).map(|_| server.send(infer_head(4 << 20) + "{")).collect();
    let refused = server.exchange(infer_head(2).replace("Host", "Connection: close\r\nHost") + "{}");
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.to_lowercase().contains("retry-after: 1\r\n"), "{refused}");
    let _idle: Vec<_> = (0..20).map(|_| server.send("")).collect();
    server.assert_probes_are_answered();
    drop(slow);
}

#[test]
fn a_request_that_waits_too_long_for_a_place_is_refused() {
    let limits = ServerLimits { places: 0, place_wait: Duration::from_millis(50), ..ServerLimits::DEFAULT };
    let server = HostedServer::start(limits);
    let answer = server.exchange(infer_head(1 << 20));
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[test]
fn a_request_that_panics_is_an_error_of_the_server() {
    async fn panics() -> &'static str {
        panic!("on purpose")
    }
    let router = Router::new().route("/panic", get(panics)).route("/livez", get(async || "alive"));
    let server = HostedServer::start_router(router, Metrics::new(PATIENCE), ServerLimits::DEFAULT);
    let both =
        "GET /panic HTTP/1.1\r\nHost: weir\r\n\r\nGET /livez HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n";
    let answer = server.exchange(both);
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert!(answer.contains(r#"{"error":"the request could not be answered"#), "{answer}");
    assert!(answer.contains("HTTP/1.1 200") && answer.ends_with("alive"), "{answer}");
    server.await_sample("weir_http_requests_total{code=\"500\"} 1");
}
