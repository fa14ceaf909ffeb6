//! On what the figures were measured.

use std::fs;

use crate::print;

const TELLING_FLAGS: [&str; 6] = [
    "aes",
    "vaes",
    "pclmulqdq",
    "vpclmulqdq",
    "avx512f",
    "sha_ni",
];

/// One line: processor, cores, the flags that decide about cryptography.
pub(crate) fn describe() {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        line.split_once(": ").map(|(_, value)| value.to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let flags = field("flags").unwrap_or_default();
    let flags: Vec<&str> = flags
        .split(' ')
        .filter(|flag| TELLING_FLAGS.contains(flag))
        .collect();
    let model = field("model name").unwrap_or_default();
    print(format_args!(
        "{model}, {cores} cores, {}\n",
        flags.join(" ")
    ));
}
