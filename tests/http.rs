//! The HTTP server among clients that take what they can: memory stays bounded, and probes are answered.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use serde_json::json;
use weir::train::preparation::Preparation;

use crate::support::models::{promote, publish};
use crate::support::weir::{Setup, Weir};
use crate::support::{PATIENCE, eventually};

/// The limit of a body, and how much the process may grow under everything at once: a sixth of the chart's limit.
const BODY_LIMIT: usize = 4 << 20;
const MOST_GROWTH: u64 = 64 << 20;

const HALF_A_HEAD: &[u8] = b"GET / HTTP/1.1\r\nHo";

/// A `weir serve` that has no brokers, and needs none to answer HTTP.
fn serve() -> (Setup, Weir) {
    let setup = Setup::named("127.0.0.1:1");
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let weir = Weir::start(&setup.config(""));
    eventually("the model is loaded", || (weir.get("/v2/models/flights/ready").0 == 200).then_some(()));
    (setup, weir)
}

/// The process answers what has no need of brokers and of room.
fn probe(weir: &Weir) {
    assert_eq!(weir.get("/livez").0, 200);
    assert_eq!(weir.get("/readyz").0, 503, "without brokers");
    assert_eq!(weir.get("/metrics").0, 200);
}

/// A request with so many numbers for a model that has no such input.
fn numbers(count: usize) -> String {
    let head = format!(r#"{{"inputs":[{{"name":"x","shape":[{count}],"datatype":"FP32","data":["#);
    head + &"0,".repeat(count - 1) + "0]}]}"
}

/// Sends bodies that are refused for their size, and the largest ones that aren't, all at once.
fn send_large_bodies(weir: &Weir) {
    let (too_large, largest) = (numbers(8_000_000), numbers((BODY_LIMIT - 100) / 2));
    thread::scope(|scope| {
        for (body, expected) in [(&too_large, "413"), (&too_large, "413"), (&largest, "400"), (&largest, "400")] {
            scope.spawn(move || assert_eq!(infer(weir, body.as_bytes()), expected));
        }
        probe(weir);
    });
}

/// Sends bodies that stop short, more of them than there are places, and heads that never end. All of them are closed without
/// another byte.
fn send_what_never_ends(weir: &Weir) {
    let body = vec![b' '; BODY_LIMIT - 1_000];
    let half_sent: Vec<_> = (0..300).map(|_| send(weir, HALF_A_HEAD)).collect();
    thread::scope(|scope| {
        let slow: Vec<_> = (0..20).map(|_| scope.spawn(|| status(send_with_body(weir, BODY_LIMIT, &body)))).collect();
        eventually("requests without a place are refused", || {
            probe(weir);
            (weir.metric("weir_http_requests_total", "503") > 1.0).then_some(())
        });
        for slow in slow {
            let status = slow.join().unwrap();
            assert!(["408", "503", ""].contains(&status.as_str()), "{status}");
        }
    });
    probe(weir);
    for connection in half_sent {
        assert_eq!(status(connection), "");
    }
}

#[test]
fn clients_take_neither_memory_nor_connections() {
    let (_setup, weir) = serve();
    // What a process holds once it has answered a request is no growth.
    assert_eq!(infer(&weir, numbers(1).as_bytes()), "400");
    let at_rest = weir.memory("VmRSS");
    weir.forget_peak_memory();

    send_large_bodies(&weir);
    send_what_never_ends(&weir);
    assert!(weir.metric("weir_http_connections_closed_total", "timeout") > 0.0);
    assert!(weir.metric("weir_http_connections_closed_total", "limit") > 100.0);
    assert!(weir.metric("weir_http_requests_total", "408") >= 4.0, "as many bodies as there are places were read");

    let grown = weir.memory("VmHWM").saturating_sub(at_rest);
    assert!(grown < MOST_GROWTH, "{at_rest} bytes at rest, {grown} more under load");
    eprintln!("http: {} MiB at rest, {} MiB more under load", at_rest >> 20, grown >> 20);

    let (open, stopping) = (send(&weir, HALF_A_HEAD), Instant::now());
    assert!(weir.stop().success());
    assert!(stopping.elapsed() < PATIENCE / 4, "stopping took {:?}", stopping.elapsed());
    drop(open);
}

#[test]
fn an_answer_is_no_larger_than_its_rows() {
    let (_setup, weir) = serve();
    let outputs = vec![json!({"name": "probabilities"}); 20_000];
    let body = json!({
        "inputs": [{"name": "dep_delay", "shape": [1], "datatype": "FP64", "data": [1]}],
        "outputs": outputs,
    });
    let (status, answer) = weir.post("/v2/models/flights/infer", &body);
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("at most 16"), "{answer}");
}

/// The status of an inference request with this body.
fn infer(weir: &Weir, body: &[u8]) -> String {
    status(send_with_body(weir, body.len(), body))
}

fn send_with_body(weir: &Weir, length: usize, body: &[u8]) -> TcpStream {
    let head = format!("POST /v2/models/flights/infer HTTP/1.1\r\nHost: weir\r\nContent-Length: {length}\r\n\r\n");
    let mut stream = send(weir, head.as_bytes());
    // It may be closed before it has taken everything.
    let _ = stream.write_all(body);
    stream
}

fn send(weir: &Weir, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(&weir.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(bytes);
    stream
}

/// The status that a connection is answered with; empty if it is closed without an answer.
fn status(mut stream: TcpStream) -> String {
    let mut answer = [0; 12];
    match stream.read_exact(&mut answer) {
        Ok(()) => String::from_utf8_lossy(&answer[9..]).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the connection stays open"),
        Err(_) => String::new(),
    }
}
