//! A buffer of floats that begins on a cache line, so that no vector load straddles two lines.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;
const LINE_FLOATS: usize = LINE / size_of::<f32>();

/// A fixed number of floats, aligned to [`LINE`] where the allocation allows it. Not `Clone`: a clone would lie elsewhere.
#[derive(Default)]
pub(super) struct Aligned {
    floats: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Aligned {
        let floats = vec![0.0; len + LINE_FLOATS - 1];
        // `align_offset` may decline to answer. Alignment is for speed only, so any start will do then.
        let start = floats.as_ptr().align_offset(LINE).min(LINE_FLOATS - 1);
        Aligned { floats, start, len }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.floats[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.floats[self.start..self.start + self.len]
    }
}
