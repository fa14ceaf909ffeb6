//! What the quickstart does and says, step by step. Every sentence of success stands behind a check.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use kdc_envelope::kmsv2;
use kdc_envelope_k8s::values::object;

use super::narration::{command, good, heading, say};
use super::plugin::Plugin;
use super::samples::Sample;
use super::{ControlPlane, Folder, Row, epilogue};
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::hexdump::hexdump;
use crate::output::{Output, Tone};

/// Shorter values occur in random bytes by chance.
const SEARCHABLE_LEN: usize = 8;

/// As much of a row as is shown.
const SHOWN_LEN: usize = 96;

pub(super) fn tell(
    folder: &Folder,
    plugin: &Plugin,
    control_plane: &mut dyn ControlPlane,
    samples: &[Sample],
    out: &mut Output,
) -> Result<(), Failure> {
    let first_id = introduce(plugin, out)?;
    let rows = store(control_plane, samples, &first_id, out)?;
    open(plugin, control_plane, samples, &rows, out)?;
    let second_id = promote(plugin, control_plane, &first_id, out)?;
    let rewritten = rewrite(plugin, control_plane, samples, (&first_id, &second_id), out)?;
    retire(plugin, &first_id, &rows, &rewritten, out)?;
    if folder.is_kept() {
        keep(folder, &rewritten, out)?;
    }
    epilogue::tell(out)
}

fn introduce(plugin: &Plugin, out: &mut Output) -> Result<String, Failure> {
    let keyring = plugin.keyring.display();
    heading(
        out,
        1,
        "A key encryption key on this machine, and a KMS v2 plugin that serves it",
    )?;
    command(out, format_args!("kdc keyring init {keyring}"))?;
    command(
        out,
        format_args!("kms-plugin --socket {} --keyring {keyring}", plugin.socket),
    )?;
    let (healthz, key_id) = plugin.status()?;
    expect(healthz == "ok", "the plugin is healthy")?;
    let shown = out.paint(Tone::Strong, &key_id);
    say(
        out,
        format_args!("the plugin answers: healthz {healthz}, key id {shown}"),
    )?;
    Ok(key_id)
}

fn store(
    control_plane: &mut dyn ControlPlane,
    samples: &[Sample],
    key_id: &str,
    out: &mut Output,
) -> Result<Vec<Row>, Failure> {
    heading(
        out,
        2,
        &format!("Secrets, stored by {}", control_plane.name()),
    )?;
    let rows = samples
        .iter()
        .map(|sample| control_plane.create(sample))
        .collect::<Result<Vec<Row>, Failure>>()?;
    let mut table = vec![
        ["KEY IN ETCD", "SECRET", "ROW", "KEY ID"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (sample, row) in samples.iter().zip(&rows) {
        expect(
            key_id_of(row)? == key_id,
            "the row names the plugin's key id",
        )?;
        expect(is_hidden(sample, row), "the plaintext is not in the row")?;
        let bytes = |bytes: &[u8]| format!("{} bytes", bytes.len());
        table.push(vec![
            row.key.clone(),
            bytes(&sample.content),
            bytes(&row.value),
            key_id.to_owned(),
        ]);
    }
    out.table(&table, |_| None)?;
    if let Some(row) = rows.first() {
        say(out, format_args!("this is what etcd holds at {}:", row.key))?;
        for line in hexdump(row.value.get(..SHOWN_LEN).unwrap_or(&row.value)) {
            out.line(format_args!("  {line}"))?;
        }
    }
    good(
        out,
        "every row begins with `k8s:enc:kms:v2:`, and none contains its plaintext",
    )?;
    Ok(rows)
}

fn open(
    plugin: &Plugin,
    control_plane: &mut dyn ControlPlane,
    samples: &[Sample],
    rows: &[Row],
    out: &mut Output,
) -> Result<(), Failure> {
    heading(out, 3, "Opened again, with the keyring alone")?;
    let keyring = plugin.keyring.display();
    for (number, (sample, row)) in samples.iter().zip(rows).enumerate() {
        let object = opened(plugin, row)?;
        expect(sample.is_in(&object), "the opened row is what was stored")?;
        expect(
            control_plane.reads_back(sample)?,
            "the API gives back what was stored",
        )?;
        if number == 0 {
            command(
                out,
                format_args!(
                    "kdc value open --file {}.row --etcd-key {} --keyring {keyring} --decode",
                    sample.name, row.key
                ),
            )?;
            let yaml = object::to_yaml(&object).map_err(|error| Failure::of(Exit::Data, &error))?;
            for line in yaml.lines() {
                out.line(format_args!("  {line}"))?;
            }
        }
    }
    good(out, "every row opens to exactly what was stored")?;
    if let [first, second, ..] = rows {
        let refused = plugin.open(first, &second.key);
        let reason = refused.err().unwrap_or_default();
        expect(!reason.is_empty(), "a row does not open at another key")?;
        good(
            out,
            &format!(
                "the row of {}, moved to {}, is refused: {reason}",
                first.key, second.key
            ),
        )?;
    }
    Ok(())
}

/// Adds and promotes a version; gives its key id once the control plane has noticed.
fn promote(
    plugin: &Plugin,
    control_plane: &mut dyn ControlPlane,
    old_id: &str,
    out: &mut Output,
) -> Result<String, Failure> {
    heading(out, 4, "The key is rotated")?;
    let keyring = plugin.keyring.display();
    command(out, format_args!("kdc keyring add {keyring}"))?;
    plugin.edit(|keyring| keyring.add(clock::now()))?;
    let (_, still) = plugin.status()?;
    expect(still == old_id, "an added version does not write yet")?;
    out.line("version 2 reads, and does not write yet: time to bring the file to every replica")?;
    command(out, format_args!("kdc keyring promote {keyring}"))?;
    plugin.edit(|keyring| keyring.promote(2))?;
    let (_, new_id) = plugin.status()?;
    expect(new_id != old_id, "a promoted version has another key id")?;
    let shown = out.paint(Tone::Strong, &new_id);
    out.line(format_args!("the plugin names another key id: {shown}"))?;
    out.flush()?;
    control_plane.until_key_id(&new_id)?;
    Ok(new_id)
}

/// Reads the rows of the old version, and stores them anew.
fn rewrite(
    plugin: &Plugin,
    control_plane: &mut dyn ControlPlane,
    samples: &[Sample],
    (old_id, new_id): (&str, &str),
    out: &mut Output,
) -> Result<Vec<Row>, Failure> {
    for sample in samples {
        let row = control_plane.row(sample)?;
        expect(key_id_of(&row)? == old_id, "an old row keeps its key")?;
        expect(control_plane.reads_back(sample)?, "an old row is readable")?;
    }
    let count = samples.len();
    good(
        out,
        &format!("all {count} rows still read; they are stale, and due for rewriting"),
    )?;
    command(out, format_args!("kdc encryption rewrite secrets"))?;
    let rewritten = samples
        .iter()
        .map(|sample| control_plane.replace(sample))
        .collect::<Result<Vec<Row>, Failure>>()?;
    for (sample, row) in samples.iter().zip(&rewritten) {
        expect(key_id_of(row)? == new_id, "a rewritten row has the new key")?;
        expect(sample.is_in(&opened(plugin, row)?), "a rewritten row opens")?;
    }
    good(
        out,
        "every row is now under the new key id, with the same content",
    )?;
    Ok(rewritten)
}

/// Wipes the old version, which only the old rows needed.
fn retire(
    plugin: &Plugin,
    old_id: &str,
    old: &[Row],
    rewritten: &[Row],
    out: &mut Output,
) -> Result<(), Failure> {
    let keyring = plugin.keyring.display();
    command(
        out,
        format_args!("kdc keyring retire {keyring} --version 1 --confirm {old_id}"),
    )?;
    plugin.edit(|keyring| keyring.retire(1, clock::now()))?;
    for row in rewritten {
        opened(plugin, row)?;
    }
    let Some(old) = old.first() else {
        return Ok(());
    };
    let reason = plugin.open(old, &old.key).err().unwrap_or_default();
    expect(
        !reason.is_empty(),
        "a row of a retired version does not open",
    )?;
    good(
        out,
        &format!("the new rows open without it; a copy of an old row does not: {reason}"),
    )
}

/// Leaves the rows beside the keyring and says what to try.
fn keep(folder: &Folder, rows: &[Row], out: &mut Output) -> Result<(), Failure> {
    say(
        out,
        format_args!("kept in {}; try:", folder.path().display()),
    )?;
    for row in rows {
        let name = row.key.rsplit('/').next().unwrap_or_default();
        let path = folder.path().join(format!("{name}.row"));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options
            .open(&path)
            .and_then(|mut file| file.write_all(&row.value))
            .map_err(|error| {
                let place = format!("cannot write `{}`", path.display());
                Failure::at(Exit::CannotCreate, place, &error)
            })?;
        let keyring = folder.path().join("keyring");
        command(
            out,
            format_args!(
                "kdc value open --file {} --etcd-key {} --keyring {} --decode",
                path.display(),
                row.key,
                keyring.display()
            ),
        )?;
    }
    Ok(())
}

fn opened(plugin: &Plugin, row: &Row) -> Result<serde_json::Value, Failure> {
    let plaintext = plugin
        .open(row, &row.key)
        .map_err(|reason| Failure::new(Exit::Data, format_args!("{}: {reason}", row.key)))?;
    object::decode(plaintext.expose()).map_err(|error| Failure::at(Exit::Data, &row.key, &error))
}

/// The key id that a row names.
pub(super) fn key_id_of(row: &Row) -> Result<&str, Failure> {
    kmsv2::Value::parse(&row.value)
        .map(|value| value.object.key_id)
        .map_err(|error| Failure::at(Exit::Data, &row.key, &error))
}

fn is_hidden(sample: &Sample, row: &Row) -> bool {
    let content = sample.content.as_slice();
    content.len() < SEARCHABLE_LEN
        || !row
            .value
            .windows(content.len())
            .any(|window| window == content)
}

/// Ends the quickstart if something that it shows is not so.
fn expect(holds: bool, claim: &str) -> Result<(), Failure> {
    if holds {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Negative,
        format_args!("this does not hold: {claim}"),
    ))
}
