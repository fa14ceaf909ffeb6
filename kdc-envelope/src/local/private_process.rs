//! Keeps what a process has in its memory to itself.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// From here on no core dump is written of this process, and no other process of the same user may read its memory or attach to
/// it; root may. For programs that hold keys, at their very start. A program that it starts may be attached to, and writes no core
/// dump either.
///
/// # Errors
/// The kernel or a sandbox refused one of the two measures; the other was taken nevertheless, if it could be.
pub fn keep_private() -> io::Result<()> {
    // Both: the limit alone does not count where the kernel pipes core dumps to a program (core(5)).
    let hidden = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let limited = rustix::process::setrlimit(Resource::Core, none);
    Ok(hidden.and(limited)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_process_may_dump_or_read_this_one() {
        keep_private().unwrap();
        let behavior = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(behavior, DumpableBehavior::NotDumpable);
        let limit = rustix::process::getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }
}
