//! An embedded broker: librdkafka's in-process mock cluster, for `weir demo` and for tests that need no Kafka.
//!
//! It speaks the real protocol on loopback ports, but it keeps only 5 MB a partition (older records vanish), and its
//! transactions are a pretence. It lives on a thread of its own, since the cluster's handle can't move.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};

use crate::kafka::ffi;

/// The bytes that the cluster keeps per partition.
pub const RETAINED_BYTES: usize = 5 << 20;

/// How long a new group waits for further members: long enough for the workers of one process to join together.
const REBALANCE_DELAY_MS: i32 = 200;

/// A running cluster of one broker; dropping it stops it.
pub struct Broker {
    bootstrap_servers: String,
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    CreateTopic { name: String, partitions: i32, done: Sender<Result<(), KafkaError>> },
}

impl Broker {
    /// Starts a cluster of one broker.
    pub fn start() -> Result<Broker, KafkaError> {
        let (orders, receiver) = mpsc::channel();
        let (started, start) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("weir-broker".into())
            .spawn(move || keep(&started, &receiver))
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        let gone = || KafkaError::ClientCreation("the broker's thread ended".into());
        let bootstrap_servers = start.recv().map_err(|_| gone())??;
        Ok(Broker { bootstrap_servers, orders: Some(orders), thread: Some(thread) })
    }

    /// `host:port` for clients.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Creates a topic.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        let (done, result) = mpsc::channel();
        let gone = || KafkaError::ClientCreation("the broker's thread ended".into());
        let order = Order::CreateTopic { name: name.into(), partitions, done };
        self.orders.as_ref().ok_or_else(gone)?.send(order).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())?
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Without orders to come the thread ends, and the cluster with it.
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Holds the cluster until no orders can come any more.
fn keep(started: &Sender<Result<String, KafkaError>>, orders: &Receiver<Order>) {
    let owner: Result<BaseProducer<DefaultProducerContext>, _> =
        ClientConfig::new().set("test.mock.num.brokers", "1").create();
    let owner = match owner {
        Ok(owner) => owner,
        Err(error) => return drop(started.send(Err(error))),
    };
    ffi::set_mock_rebalance_delay(&owner, REBALANCE_DELAY_MS);
    let Some(cluster) = owner.client().mock_cluster() else {
        return drop(started.send(Err(KafkaError::ClientCreation("no mock cluster in this librdkafka".into()))));
    };
    if started.send(Ok(cluster.bootstrap_servers())).is_err() {
        return;
    }
    for Order::CreateTopic { name, partitions, done } in orders {
        let _ = done.send(cluster.create_topic(&name, partitions, 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::admin::Admin;
    use crate::kafka::settings::KafkaConfig;

    #[test]
    fn it_has_the_topics_that_were_created() {
        let broker = Broker::start().unwrap();
        broker.create_topic("a", 3).unwrap();
        let config = KafkaConfig {
            brokers: broker.bootstrap_servers().into(),
            group_id: "g".into(),
            client_id: "c".into(),
            properties: Default::default(),
        };
        let admin = Admin::new(&config).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(admin.describe(&["a".into()])).unwrap()["a"].partitions, 3);
    }
}
