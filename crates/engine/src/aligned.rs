//! A buffer that begins on a cache line, so that no vector load straddles two lines.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// A fixed number of values, aligned to [`LINE`] where the allocation allows it. Not `Clone`: a clone would lie elsewhere.
#[derive(Default)]
pub(super) struct Aligned<T> {
    values: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Aligned<T> {
        let spare = LINE / size_of::<T>() - 1;
        let values = vec![T::default(); len + spare];
        // `align_offset` may decline to answer. Alignment is for speed only, so any start will do then.
        let start = values.as_ptr().align_offset(LINE).min(spare);
        Aligned { values, start, len }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..self.start + self.len]
    }
}
