//! Records out and delivery reports in, without what rdkafka does for each of them: a copy of the topic's name, a search
//! for the topic under the client's lock, a counted reference per report.

use std::ffi::{CStr, CString, c_void};
use std::ptr::{NonNull, null_mut};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::headers::Headers;
use super::queue::{Queue, millis};

/// A partition that librdkafka is to choose, by the key.
const UNASSIGNED: i32 = -1;

/// How many reports are taken from an event at a time.
const CHUNK: usize = 256;

/// A topic that a client produces to. To be dropped before the client.
pub(crate) struct TopicHandle(NonNull<rd::rd_kafka_topic_t>);

// SAFETY: librdkafka's topic handles may be used from any thread.
unsafe impl Send for TopicHandle {}

impl TopicHandle {
    /// A handle on the topic of this name, whether it exists or not.
    pub(crate) fn new<C: ClientContext>(client: &Client<C>, name: &str) -> Result<TopicHandle, KafkaError> {
        let c_name = CString::new(name)?;
        // SAFETY: the client is alive; librdkafka copies the name; without a configuration it takes the client's.
        let topic = unsafe { rd::rd_kafka_topic_new(client.native_ptr(), c_name.as_ptr(), null_mut()) };
        // SAFETY: takes no pointers.
        let refused = || KafkaError::MessageProduction(unsafe { rd::rd_kafka_last_error() }.into());
        NonNull::new(topic).map(TopicHandle).ok_or_else(refused)
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that this value holds, once. Messages hold their own.
        unsafe { rd::rd_kafka_topic_destroy(self.0.as_ptr()) }
    }
}

/// A record to be sent.
pub(crate) struct Message<'a> {
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// `None`: now.
    pub(crate) timestamp_ms: Option<i64>,
    /// What its report brings back.
    pub(crate) opaque: usize,
}

/// Hands a record to librdkafka, which copies it and takes its headers. Never blocks. If it isn't taken, the headers
/// come back with the reason.
pub(crate) fn produce<C: ClientContext>(
    client: &Client<C>,
    topic: &TopicHandle,
    message: &Message<'_>,
    headers: Option<Headers>,
) -> Result<(), (RDKafkaErrorCode, Option<Headers>)> {
    use rd::rd_kafka_vtype_t as vtype;

    let (value, value_length) = parts(message.value);
    let (key, key_length) = parts(message.key);
    let headers = headers.map_or(null_mut(), Headers::into_raw);
    // SAFETY: client and topic are alive, and each tag is followed by what librdkafka reads for it. It copies key and
    // value, only carries the opaque, and owns the headers if it succeeds.
    let code = unsafe {
        rd::rd_kafka_producev(
            client.native_ptr(),
            vtype::RD_KAFKA_VTYPE_RKT,
            topic.0.as_ptr(),
            vtype::RD_KAFKA_VTYPE_PARTITION,
            message.partition.unwrap_or(UNASSIGNED),
            vtype::RD_KAFKA_VTYPE_MSGFLAGS,
            rd::RD_KAFKA_MSG_F_COPY,
            vtype::RD_KAFKA_VTYPE_VALUE,
            value,
            value_length,
            vtype::RD_KAFKA_VTYPE_KEY,
            key,
            key_length,
            vtype::RD_KAFKA_VTYPE_OPAQUE,
            message.opaque as *mut c_void,
            vtype::RD_KAFKA_VTYPE_TIMESTAMP,
            message.timestamp_ms.unwrap_or(0),
            vtype::RD_KAFKA_VTYPE_HEADERS,
            headers,
            vtype::RD_KAFKA_VTYPE_END,
        )
    };
    match RDKafkaErrorCode::from(code) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err((code, Headers::from_raw(headers))),
    }
}

/// Has librdkafka send all that it holds back for fuller batches, as long as this lasts: until every record is delivered
/// and its report destroyed, or for `timeout`. Reports come through their queue meanwhile.
pub(crate) fn flush<C: ClientContext>(client: &Client<C>, timeout: Duration) {
    // SAFETY: the handle is alive; what a timeout leaves undelivered stays where it is.
    unsafe { rd::rd_kafka_flush(client.native_ptr(), millis(timeout)) };
}

/// What a producer reports of a record that it took.
pub(crate) struct DeliveryReport<'e> {
    /// What the record was sent with.
    pub(crate) opaque: usize,
    /// Why it wasn't delivered, and the topic that it was for.
    pub(crate) failure: Option<(RDKafkaErrorCode, &'e str)>,
}

/// Where a producer's delivery reports come. To be dropped before the client.
pub(crate) struct ReportQueue(Queue);

impl ReportQueue {
    /// The reports of this producer; they unpark the calling thread.
    pub(crate) fn new<C: ClientContext>(client: &Client<C>) -> ReportQueue {
        ReportQueue(Queue::main(client).waking(std::thread::current()))
    }

    /// Hands all reports that are there to `take`, waiting up to `timeout` for the first. Other events go to the
    /// client's context.
    pub(crate) fn poll<C: ClientContext>(
        &self,
        client: &Client<C>,
        timeout: Duration,
        mut take: impl FnMut(DeliveryReport<'_>),
    ) {
        let mut timeout = timeout;
        while let Some(event) = self.0.poll(timeout) {
            timeout = Duration::ZERO;
            // SAFETY: the event is alive, and the messages and texts belong to it. A report's message has a topic.
            unsafe {
                if rd::rd_kafka_event_type(event.as_ptr()) != rd::RD_KAFKA_EVENT_DR {
                    super::ask::hand_on(client, &event);
                    continue;
                }
                let mut messages = [std::ptr::null(); CHUNK];
                loop {
                    let count = rd::rd_kafka_event_message_array(event.as_ptr(), messages.as_mut_ptr(), CHUNK);
                    if count == 0 {
                        break;
                    }
                    for &message in &messages[..count] {
                        let failure = match RDKafkaErrorCode::from((*message).err) {
                            RDKafkaErrorCode::NoError => None,
                            code => {
                                let topic = CStr::from_ptr(rd::rd_kafka_topic_name((*message).rkt));
                                Some((code, topic.to_str().unwrap_or_default()))
                            }
                        };
                        take(DeliveryReport { opaque: (*message)._private as usize, failure });
                    }
                }
            }
        }
    }
}

fn parts(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    bytes.map_or((null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast(), bytes.len()))
}
