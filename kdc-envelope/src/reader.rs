//! A cursor over untrusted bytes that cannot index out of bounds.
//!
//! All binary parsers of the crate read through it, so every length is checked in one place and every
//! failure knows its offset.

/// The input ended before `field`, or goes on after the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadError {
    /// Where in the input it happened, in bytes from its start.
    pub(crate) offset: usize,
}

/// Reads front to back.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(input: &'a [u8]) -> Self {
        Self {
            rest: input,
            offset: 0,
        }
    }

    /// A reader of a part of a larger input which begins at `offset` there.
    pub(crate) const fn at(input: &'a [u8], offset: usize) -> Self {
        Self {
            rest: input,
            offset,
        }
    }

    pub(crate) const fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], ReadError> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(ReadError {
            offset: self.offset,
        })?;
        self.rest = tail;
        self.offset += len;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], ReadError> {
        let (head, tail) = self.rest.split_first_chunk().ok_or(ReadError {
            offset: self.offset,
        })?;
        self.rest = tail;
        self.offset += N;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ReadError> {
        self.array().map(|&[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ReadError> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    pub(crate) fn u16_le(&mut self) -> Result<u16, ReadError> {
        self.array().map(|bytes| u16::from_le_bytes(*bytes))
    }

    pub(crate) fn u32_le(&mut self) -> Result<u32, ReadError> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ReadError> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    pub(crate) fn u64_le(&mut self) -> Result<u64, ReadError> {
        self.array().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// Everything that is left.
    pub(crate) fn remaining(self) -> &'a [u8] {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_in_order_and_knows_where_it_ended() {
        let mut reader = Reader::new(&[1, 0, 2, 9, 9]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.take(3), Err(ReadError { offset: 3 }));
        assert_eq!(reader.take(2), Ok(&[9, 9][..]));
        assert!(reader.is_empty());
        assert_eq!(reader.array::<1>(), Err(ReadError { offset: 5 }));
    }
}
