//! The headers of a record on its way out.

use std::ffi::CString;
use std::ptr::NonNull;

use rdkafka::bindings as rd;

/// The headers of a record on its way out: in order, names may repeat.
#[derive(Debug)]
pub struct Headers(NonNull<rd::rd_kafka_headers_t>);

// SAFETY: they are plain memory with one owner.
unsafe impl Send for Headers {}

impl Headers {
    /// Appends a header.
    pub fn with(self, name: &str, value: &[u8]) -> Headers {
        self.with_bytes(name.as_bytes(), Some(value))
    }

    /// Appends a header whose name needn't be UTF-8 and whose value may be null.
    pub(super) fn with_bytes(self, name: &[u8], value: Option<&[u8]>) -> Headers {
        let size = |bytes: &[u8]| isize::try_from(bytes.len()).unwrap_or(isize::MAX);
        // SAFETY: the headers are alive and owned by this value; librdkafka copies name and value. It fails only for
        // headers that belong to a message that was produced.
        unsafe {
            rd::rd_kafka_header_add(
                self.0.as_ptr(),
                name.as_ptr().cast(),
                size(name),
                value.map_or(std::ptr::null(), <[u8]>::as_ptr).cast(),
                size(value.unwrap_or_default()),
            );
        }
        self
    }

    /// Takes all headers of this name away.
    pub(super) fn without(self, name: &[u8]) -> Headers {
        if let Ok(name) = CString::new(name) {
            // SAFETY: the headers are alive and owned by this value; a name that isn't there is reported, and that's fine.
            unsafe { rd::rd_kafka_header_remove(self.0.as_ptr(), name.as_ptr()) };
        }
        self
    }

    /// Takes over headers that nobody else owns; `None` where there are none.
    pub(super) fn from_raw(headers: *mut rd::rd_kafka_headers_t) -> Option<Headers> {
        NonNull::new(headers).map(Headers)
    }

    /// Gives them to whoever destroys them.
    pub(super) fn into_raw(self) -> *mut rd::rd_kafka_headers_t {
        let headers = self.0.as_ptr();
        std::mem::forget(self);
        headers
    }
}

impl Default for Headers {
    fn default() -> Headers {
        // SAFETY: takes no pointers.
        let headers = unsafe { rd::rd_kafka_headers_new(8) };
        Headers(NonNull::new(headers).expect("librdkafka aborts rather than return no headers"))
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        // SAFETY: owned by this value, destroyed once.
        unsafe { rd::rd_kafka_headers_destroy(self.0.as_ptr()) }
    }
}
