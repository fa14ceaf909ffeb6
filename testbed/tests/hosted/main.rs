//! Hosted control planes in the testbed: what a person would do by hand, on real servers.

mod fixture;
mod load;
mod pods;
mod stages;
