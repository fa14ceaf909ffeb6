//! Rewriting every row of a resource through an API server, and proof that none is left.
