//! Topics that are created, on request only.

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::KafkaError;

use super::{Admin, AdminError, TIMEOUT};

/// The number of partitions or replicas that stands for the brokers' own default.
const BROKER_DEFAULT: i32 = -1;

impl Admin {
    /// Creates topics, each with so many partitions, or as many as the brokers' default where none are given. Blocks for up to
    /// 5 s.
    pub async fn create_topics(&self, topics: &[(&str, Option<i32>)]) -> Result<(), AdminError> {
        let wanted: Vec<_> = topics
            .iter()
            .map(|&(name, partitions)| {
                NewTopic::new(name, partitions.unwrap_or(BROKER_DEFAULT), TopicReplication::Fixed(BROKER_DEFAULT))
            })
            .collect();
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        let answers = self.client.create_topics(&wanted, &options).await.map_err(|_| self.unreachable())?;
        for answer in answers {
            if let Err((topic, code)) = answer {
                return Err(AdminError::NotCreated { topic, source: KafkaError::AdminOp(code) });
            }
        }
        Ok(())
    }
}
