//! `kdc value inspect`.

use super::describe::Description;
use super::key_usage;
use super::source::Source;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output, Tone};
use crate::rows::Rows;

const EXAMPLES: &str = "\
Examples:
  etcdctl get /registry/secrets/default/demo -w json | kdc value inspect --format etcdctl-json
  kdc value inspect --file row.bin --output json
  # what is encrypted under which key
  kdc value inspect --etcd-prefix /registry/secrets/ --etcd-endpoints https://127.0.0.1:2379 \\
      --etcd-cacert ca.crt --etcd-cert client.crt --etcd-keyfile client.key";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Inspect {
    /// Instead of one row, count all whose keys begin with this, by provider and key id; '' counts all rows of etcd.
    #[arg(
        long,
        value_name = "PREFIX",
        requires = "etcd_endpoints",
        conflicts_with = "etcd_key",
        help_heading = "etcd"
    )]
    etcd_prefix: Option<String>,
    /// How to show it.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    source: Source,
}

pub(super) fn run(arguments: &Inspect, out: &mut Output) -> Result<Exit, Failure> {
    if let Some(prefix) = &arguments.etcd_prefix {
        return count(arguments, prefix, out);
    }
    let stored = arguments.source.read()?;
    let description = Description::of(&stored.value, stored.key.as_deref());
    match arguments.output {
        Format::Json => out.json(&description)?,
        Format::Text => show(&description, out)?,
    }
    match description.problem {
        None => Ok(Exit::Ok),
        Some(problem) => {
            let failure = Failure::new(Exit::Data, format_args!("the value is damaged: {problem}"));
            Err(stored.explain(failure))
        }
    }
}

fn count(arguments: &Inspect, prefix: &str, out: &mut Output) -> Result<Exit, Failure> {
    let Some(etcd) = arguments.source.etcd.connection()? else {
        return Err(Failure::new(
            Exit::Usage,
            "--etcd-prefix needs --etcd-endpoints",
        ));
    };
    let usage = key_usage::count(&etcd, prefix)?;
    let elsewhere = match etcd.count_outside(prefix.as_bytes()) {
        Ok(count) => Some(count),
        // A user who may read this prefix alone.
        Err(failure) if failure.exit() == Exit::Denied => None,
        Err(failure) => return Err(failure),
    };
    let rows = Rows::of(&usage, elsewhere);
    match arguments.output {
        Format::Json => out.json(&rows)?,
        Format::Text => rows.show(out)?,
    }
    rows.verdict("`kdc value inspect --etcd-key` says how")
}

fn show(description: &Description, out: &mut Output) -> Result<(), Failure> {
    let provider = match (description.encrypted, description.plain_format) {
        (false, Some(format)) => format!("{} (not encrypted, {format})", description.provider),
        _ => description.provider.to_owned(),
    };
    let bytes = |bytes: usize| format!("{bytes} bytes");
    let mut lines = Vec::new();
    let mut put = |name: &'static str, text: Option<String>| {
        lines.extend(text.map(|text| (name, text)));
    };
    put("etcd key", description.etcd_key.clone());
    put("provider", Some(provider));
    put("name", description.name.clone());
    put("key id", description.key_id.clone());
    if let Some(source) = &description.dek_source {
        put("DEK source type", source.kind.map(str::to_owned));
        put("wrapped DEK source", Some(bytes(source.bytes)));
        put(
            "transit key version",
            source.transit_version.map(|version| version.to_string()),
        );
    }
    for (key, value) in &description.annotations {
        put("annotation", Some(format!("{key} = {value} (base64)")));
    }
    put("value", Some(bytes(description.bytes.value)));
    put("ciphertext", description.bytes.ciphertext.map(bytes));
    put("plaintext", description.bytes.plaintext.map(bytes));
    put("problem", description.problem.clone());
    for (name, text) in lines {
        let tone = match name {
            "key id" => Tone::Strong,
            "problem" => Tone::Bad,
            "provider" if description.encrypted => Tone::Good,
            "provider" => Tone::Warning,
            _ => {
                out.line(format_args!(
                    "{name:<20} {}",
                    crate::failure::escaped(&text)
                ))?;
                continue;
            }
        };
        let text = out.paint(tone, &text);
        out.line(format_args!("{name:<20} {text}"))?;
    }
    Ok(())
}
