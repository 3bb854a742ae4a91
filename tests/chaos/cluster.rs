//! The brokers: one, or a cluster of three, with a listener for each weir process behind a proxy of its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crate::support::eventually;
use crate::support::kafka::{self, Kafka, create_replicated_topic};
use crate::support::proxy::Link;
use crate::support::rights::AUTHORIZER;

/// The weir processes that there can be.
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

/// What a session may be at the least, and is.
pub(crate) const SESSION_TIMEOUT_MS: u32 = 4_000;

/// Ends a client of the test's own that was there when brokers came and went. Nothing waits for it: librdkafka's may wait
/// for themselves for ever then (confluentinc/librdkafka#4131).
pub(crate) fn end_aside(client: impl Send + 'static) {
    thread::spawn(move || drop(client));
}

/// The brokers and the links to them.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    links: [Arc<Link>; NAMES.len()],
    /// By process: the brokers' addresses as it knows them.
    bootstraps: [String; NAMES.len()],
}

struct Node {
    arguments: Vec<String>,
    port: u16,
    kafka: Option<Kafka>,
}

impl Cluster {
    /// Starts so many brokers, with their data in `folder`.
    pub(crate) fn start(brokers: usize, folder: &Path) -> Cluster {
        let links = NAMES.map(|_| Link::new());
        let mut bootstraps = NAMES.map(|_| Vec::new());
        let mut nodes = Vec::new();
        for kafka::Node { port, mut arguments } in kafka::cluster(brokers, folder) {
            arguments.extend(["--set".into(), format!("group.min.session.timeout.ms={SESSION_TIMEOUT_MS}")]);
            arguments.extend(AUTHORIZER.into_iter().flat_map(|setting| ["--set".into(), setting.into()]));
            for (process, name) in NAMES.iter().enumerate() {
                let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
                let (advertised, own) = (proxy.local_addr().unwrap(), kafka::free_port());
                links[process].serve(proxy, SocketAddr::from(([127, 0, 0, 1], own)));
                bootstraps[process].push(advertised.to_string());
                arguments.push("--listener".into());
                arguments.push(format!("{}:{own}:{}", name.to_uppercase(), advertised.port()));
            }
            nodes.push(Node { arguments, port, kafka: None });
        }
        // A node of a cluster is ready only when others are, too.
        thread::scope(|scope| {
            for node in &mut nodes {
                scope.spawn(|| node.start());
            }
        });
        Cluster { nodes, links, bootstraps: bootstraps.map(|addresses| addresses.join(",")) }
    }

    /// The brokers' own addresses.
    pub(crate) fn brokers(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        addresses.join(",")
    }

    /// The brokers' addresses as a process knows them.
    pub(crate) fn bootstrap(&self, process: usize) -> &str {
        &self.bootstraps[process]
    }

    /// The network of a process.
    pub(crate) fn link(&self, process: usize) -> &Link {
        &self.links[process]
    }

    /// Kills a broker.
    pub(crate) fn kill(&mut self, node: usize) {
        let mut kafka = self.nodes[node].kafka.take().expect("the broker runs");
        // The script is what is killed; the kernel takes the broker with it.
        kafka.process.kill().unwrap();
        drop(kafka);
        let port = self.nodes[node].port;
        eventually("the broker is gone", || TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()));
    }

    /// Starts a broker that was killed, on the data that it left, and waits until it serves.
    pub(crate) fn restart(&mut self, node: usize) {
        self.nodes[node].start();
    }

    /// Creates a topic on three brokers, two of which must have a record, or on the only one.
    pub(crate) fn create_topic(&self, name: &str, partitions: usize, settings: &[(&str, &str)]) {
        let replicas = self.nodes.len().min(3) as i32;
        let in_sync = if replicas < 3 { "1" } else { "2" };
        let settings = [&[("min.insync.replicas", in_sync)], settings].concat();
        create_replicated_topic(&self.brokers(), name, partitions as i32, replicas, &settings);
    }
}

impl Node {
    fn start(&mut self) {
        self.kafka = Some(Kafka::start_with(&self.arguments));
    }
}
