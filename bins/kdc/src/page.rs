//! Reports as one page for the browser. It loads nothing and runs nothing, so that it can be mailed and kept.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::failure::{Exit, Failure, exit_of_io, is_reordering};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2430;--faint:#66707d;--line:#d5dae1;--paper:#fff;--key:#2f6fb7;--odd:#b7791f;--bad:#b3261e;--good:#2e7d32}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--faint:#98a3b1;--line:#38424f;--paper:#161b22;--key:#6ea8e6;--odd:#d9a441;--bad:#f2857d;--good:#7cc682}}
body{margin:2rem auto;max-width:72rem;padding:0 1rem;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.15rem;margin:2rem 0 .4rem}p{margin:.3rem 0}.faint{color:var(--faint)}
svg{width:100%;height:auto;font:12px system-ui,sans-serif}svg text{fill:var(--ink)}svg .date{fill:var(--faint);font-size:11px}
svg .grid{stroke:var(--line)}svg rect{fill:var(--key)}svg .unknown rect{fill:var(--odd)}svg .span{fill-opacity:.35}
table{border-collapse:collapse;width:100%;font-size:14px}th,td{text-align:left;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
th{color:var(--faint);font-weight:600}td.number,th.number{text-align:right;padding-right:1.2rem;white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}.odd{color:var(--odd)}";

/// The page up to its heading, as HTML, which is also well-formed XML.
pub(crate) fn begin(title: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    )
}

/// The end of a page that [`begin`] began.
pub(crate) const END: &str = "</body>\n</html>\n";

/// Text for elements and attributes. What XML cannot hold, and what would show text in another order, becomes U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ if character.is_control() || is_reordering(character) => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}

/// Refuses to replace what is there: an earlier report may be all that tells of that day.
pub(crate) fn check_free(path: &Path) -> Result<(), Failure> {
    match path.symlink_metadata() {
        Ok(_) => Err(exists(path)),
        Err(_) => Ok(()),
    }
}

fn exists(path: &Path) -> Failure {
    let line = format!(
        "--html: `{}` exists already; it is not replaced",
        path.display()
    );
    Failure::new(Exit::CannotCreate, line).hint("name another file, or remove it first")
}

/// Whole or not at all, and never over another file.
pub(crate) fn write(path: &Path, page: &str) -> Result<(), Failure> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let written = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder)
        .and_then(|mut file| {
            file.write_all(page.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist_noclobber(path).map_err(|error| error.error)
        });
    match written {
        Ok(_) => Ok(()),
        Err(error) => {
            if error.kind() == io::ErrorKind::AlreadyExists {
                return Err(exists(path));
            }
            let exit = match exit_of_io(&error) {
                Exit::NoInput => Exit::CannotCreate,
                other => other,
            };
            let place = format!("--html: cannot write `{}`", path.display());
            Err(Failure::at(exit, place, &error))
        }
    }
}
