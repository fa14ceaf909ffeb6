//! One line from an error and all that caused it: no error of this workspace repeats its source, so the program that shows it joins them.

use core::error::Error;
use core::fmt;

/// An error and its sources in one line, joined by colons, for logs and people.
#[derive(Debug, Clone, Copy)]
pub struct ErrorChain<'a>(&'a (dyn Error + 'static));

impl<'a> ErrorChain<'a> {
    /// Shows `error` and its sources.
    #[must_use]
    pub const fn new(error: &'a (dyn Error + 'static)) -> Self {
        Self(error)
    }
}

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn every_source_is_named_once_from_the_outermost_inwards() {
        let chain = Link(
            "a",
            Some(Box::new(Link("b", Some(Box::new(Link("c", None)))))),
        );
        assert_eq!(ErrorChain::new(&chain).to_string(), "a: b: c");
        assert_eq!(ErrorChain::new(&Link("alone", None)).to_string(), "alone");
    }
}
