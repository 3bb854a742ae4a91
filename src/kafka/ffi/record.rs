//! A consumed record, as librdkafka holds it.

use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::ptr::NonNull;

use rdkafka::bindings as rd;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::headers::Headers;
use crate::record::Origin;

/// Distinguishes topics, among records that are held at the same time: comparing names takes longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicTag(usize);

impl TopicTag {
    /// The tag of a topic that is no topic of librdkafka's.
    #[cfg(test)]
    pub(crate) fn simulated(number: usize) -> TopicTag {
        TopicTag(number)
    }
}

/// A consumed record: borrowed from librdkafka's fetch buffers, not copied.
pub struct Record<'c> {
    /// Owned, and alive until dropped.
    message: NonNull<rd::rd_kafka_message_t>,
    /// It must go before the client that fetched it.
    client: PhantomData<&'c ()>,
}

// SAFETY: a message that was handed out is used by nobody else; destroying it is thread-safe.
unsafe impl Send for Record<'_> {}

impl<'c> Record<'c> {
    /// # Safety
    /// `message` is alive and nobody else's, and its client lives for `'c`.
    pub(super) unsafe fn from_raw(message: NonNull<rd::rd_kafka_message_t>) -> Record<'c> {
        Record { message, client: PhantomData }
    }

    /// Where it came from.
    pub fn origin(&self) -> Origin<'_> {
        Origin { topic: self.topic(), partition: self.partition(), offset: self.offset() }
    }

    /// What distinguishes its topic from that of other records that are held meanwhile.
    pub fn topic_tag(&self) -> TopicTag {
        TopicTag(self.message().rkt.addr())
    }

    /// The partition it came from.
    pub fn partition(&self) -> i32 {
        self.message().partition
    }

    /// The offset it came from.
    pub fn offset(&self) -> i64 {
        self.message().offset
    }

    /// The epoch of the leader that wrote it, where the brokers say so.
    pub fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: the message is alive.
        let epoch = unsafe { rd::rd_kafka_message_leader_epoch(self.message.as_ptr()) };
        Some(epoch).filter(|&epoch| epoch >= 0)
    }

    /// Its value; `None` for a tombstone.
    pub fn payload(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: the payload lives as long as the message, and is so long.
        unsafe { bytes(message.payload.cast(), message.len) }
    }

    /// Its key.
    pub fn key(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: the key lives as long as the message, and is so long.
        unsafe { bytes(message.key.cast(), message.key_len) }
    }

    /// Its timestamp in milliseconds since 1970, if it has one.
    pub fn timestamp_ms(&self) -> Option<i64> {
        // SAFETY: the message is alive; the kind of the timestamp isn't asked for.
        let millis = unsafe { rd::rd_kafka_message_timestamp(self.message.as_ptr(), std::ptr::null_mut()) };
        Some(millis).filter(|&millis| millis > 0)
    }

    /// A copy of its headers, byte for byte.
    pub fn headers(&self) -> Option<Headers> {
        // SAFETY: the headers live as long as the message; the copy is nobody else's.
        self.native_headers()
            .and_then(|headers| Headers::from_raw(unsafe { rd::rd_kafka_headers_copy(headers.as_ptr()) }))
    }

    /// The value of its last header of this name, if it has one.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        let (headers, name) = (self.native_headers()?, CString::new(name).ok()?);
        let (mut value, mut length) = (std::ptr::null(), 0);
        // SAFETY: the headers live as long as the message, and the value, copied here, as long as they.
        unsafe {
            let code = rd::rd_kafka_header_get_last(headers.as_ptr(), name.as_ptr(), &mut value, &mut length);
            let found = RDKafkaErrorCode::from(code) == RDKafkaErrorCode::NoError;
            bytes(value.cast(), length).filter(|_| found).map(<[u8]>::to_vec)
        }
    }

    /// Its headers in their order, each with its name and its value, if that isn't null.
    pub fn header_list(&self) -> Vec<(&[u8], Option<&[u8]>)> {
        self.each_header().collect()
    }

    fn each_header(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let headers = self.native_headers();
        (0..).map_while(move |at| {
            let (mut name, mut value, mut length) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: the headers live as long as the message and are only read; a name is a C string, and a value so long.
            unsafe {
                let code = rd::rd_kafka_header_get_all(headers?.as_ptr(), at, &mut name, &mut value, &mut length);
                let found = RDKafkaErrorCode::from(code) == RDKafkaErrorCode::NoError;
                found.then(|| (CStr::from_ptr(name).to_bytes(), bytes(value.cast(), length)))
            }
        })
    }

    /// Its headers without those at these places.
    pub fn headers_without(&self, places: &[usize]) -> Option<Headers> {
        let list = self.header_list();
        let is_left_out = |name: &[u8]| places.iter().any(|&place| list[place].0 == name);
        let kept = || list.iter().enumerate().filter(|(place, _)| !places.contains(place)).map(|(_, header)| header);
        if kept().any(|(name, _)| is_left_out(name)) {
            // Somebody else's header has the name of one that goes, and librdkafka takes headers away by name.
            return Some(kept().fold(Headers::default(), |headers, (name, value)| headers.with_bytes(name, *value)));
        }
        let names: Vec<&[u8]> = places.iter().map(|&place| list[place].0).collect();
        self.headers().map(|headers| names.into_iter().fold(headers, Headers::without))
    }

    /// The most bytes that its headers take.
    pub fn header_bytes(&self) -> usize {
        self.each_header().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len) + HEADER_OVERHEAD).sum()
    }

    /// What it reports instead of being a record: librdkafka reports trouble with a partition among its records.
    pub(crate) fn error(&self) -> Option<KafkaError> {
        match RDKafkaErrorCode::from(self.message().err) {
            RDKafkaErrorCode::NoError => None,
            RDKafkaErrorCode::PartitionEOF => Some(KafkaError::PartitionEOF(self.partition())),
            code => Some(KafkaError::MessageConsumption(code)),
        }
    }

    fn topic(&self) -> &str {
        let topic = self.message().rkt;
        if topic.is_null() {
            // An error that is about no topic.
            return "";
        }
        // SAFETY: the topic and its name live as long as the message.
        unsafe { CStr::from_ptr(rd::rd_kafka_topic_name(topic)) }.to_str().unwrap_or_default()
    }

    fn message(&self) -> &rd::rd_kafka_message_t {
        // SAFETY: the message is alive.
        unsafe { self.message.as_ref() }
    }

    fn native_headers(&self) -> Option<NonNull<rd::rd_kafka_headers_t>> {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is alive, and the pointer is to a local.
        let code = unsafe { rd::rd_kafka_message_headers(self.message.as_ptr(), &mut headers) };
        if RDKafkaErrorCode::from(code) == RDKafkaErrorCode::NoError { NonNull::new(headers) } else { None }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        // SAFETY: owned by this value, destroyed once.
        unsafe { rd::rd_kafka_message_destroy(self.message.as_ptr()) }
    }
}

/// What a header takes beside its name and value: librdkafka counts two lengths of up to 5 bytes.
const HEADER_OVERHEAD: usize = 10;

/// # Safety
/// `start` is null or the start of so many bytes that live for `'b`.
unsafe fn bytes<'b>(start: *const u8, length: usize) -> Option<&'b [u8]> {
    // SAFETY: as the caller promises.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start, length) })
}
