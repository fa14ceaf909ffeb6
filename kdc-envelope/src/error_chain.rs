//! One line from an error and all that caused it: no error of this workspace repeats its source, so the program that shows it joins them.

use core::error::Error;
use core::fmt;
use core::iter::from_fn;

/// An error and its sources in one line, joined by colons, for logs and people. Words that an error only repeats from its source are said once.
#[derive(Debug, Clone, Copy)]
pub struct ErrorChain<'a>(&'a (dyn Error + 'static));

impl<'a> ErrorChain<'a> {
    /// Shows `error` and its sources.
    #[must_use]
    pub const fn new(error: &'a (dyn Error + 'static)) -> Self {
        Self(error)
    }

    /// The error and its sources, from the outermost inwards.
    pub fn causes(self) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
        let mut next = Some(self.0);
        from_fn(move || {
            let error = next?;
            next = error.source();
            Some(error)
        })
    }

    /// The last of [`causes`](Self::causes), where the errors around it only repeat its words. It is the error itself if that has no
    /// source.
    #[must_use]
    pub fn innermost(self) -> &'a (dyn Error + 'static) {
        self.causes().last().unwrap_or(self.0)
    }
}

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said: Option<String> = None;
        for error in self.causes() {
            let words = error.to_string();
            match &said {
                None => f.write_str(&words)?,
                Some(said) if *said == words => {}
                Some(_) => write!(f, ": {words}")?,
            }
            said = Some(words);
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
        assert_eq!(ErrorChain::new(&chain).innermost().to_string(), "c");
        let alone = Link("alone", None);
        assert_eq!(ErrorChain::new(&alone).to_string(), "alone");
        assert_eq!(ErrorChain::new(&alone).innermost().to_string(), "alone");
        let wrapper = Link("a", Some(Box::new(Link("a", Some(Box::new(alone))))));
        assert_eq!(ErrorChain::new(&wrapper).to_string(), "a: alone");
    }
}
