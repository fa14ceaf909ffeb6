//! Alerts and dashboard name only what the real program gives on `/metrics`.

use std::collections::{BTreeMap, BTreeSet};

use kdc_envelope_bao::{Operation, Outcome};
use serde_json::Value;
use tonic::Code;

use super::openbao::Prepared;
use super::{text, yaml};
use crate::fixture::{decrypt, encrypt, get, http_address};

/// Names of samples, and for each the labels that it has anywhere with all their values.
type Offered = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Labels that Prometheus itself adds to what it scrapes.
const OF_TARGETS: [&str; 2] = ["job", "instance"];

/// What a PromQL expression asks for.
#[derive(Debug, Default)]
struct Asked {
    /// Metrics with the matchers on their labels.
    selectors: Vec<(String, Vec<(String, String)>)>,
    /// Labels in `by (…)`, `without (…)`, `on (…)` and `ignoring (…)`.
    grouping: Vec<String>,
}

impl Asked {
    /// Reads names, braces and groupings; promtool judges the rest.
    fn by(expression: &str) -> Self {
        let mut asked = Self::default();
        let mut rest = expression;
        while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
            rest = &rest[at..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after;
            if ["by", "without", "on", "ignoring"].contains(&word) {
                let (list, after) = bracketed(rest, '(', ')').unwrap();
                asked
                    .grouping
                    .extend(list.split(',').map(|label| label.trim().to_owned()));
                rest = after;
            } else if word.starts_with("kdc_kms_") || word == "up" {
                let (matchers, after) = bracketed(rest, '{', '}').unwrap_or(("", rest));
                asked
                    .selectors
                    .push((word.to_owned(), matchers_in(matchers)));
                rest = after;
            } else if let Some((_, after)) = bracketed(rest, '[', ']') {
                rest = after;
            }
        }
        asked
    }
}

/// What stands in brackets at the beginning, and what follows.
fn bracketed(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    text.trim_start().strip_prefix(open)?.split_once(close)
}

fn matchers_in(text: &str) -> Vec<(String, String)> {
    let parts: Vec<&str> = text.split('"').collect();
    parts
        .chunks_exact(2)
        .map(|pair| {
            let label = pair[0].trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            (label.to_owned(), pair[1].to_owned())
        })
        .collect()
}

#[test]
fn expressions_are_read() {
    let asked = Asked::by(
        r#"sum without (code) (rate(kdc_kms_a{rpc=~"x|y", code!="ok"}[5m])) > 2 * kdc_kms_b unless on (key, job) up"#,
    );
    let names: Vec<&str> = asked
        .selectors
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["kdc_kms_a", "kdc_kms_b", "up"]);
    let pair = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    assert_eq!(
        asked.selectors[0].1,
        [pair("rpc", "x|y"), pair("code", "ok")]
    );
    assert_eq!(asked.grouping, ["code", "key", "job"]);
}

/// Adds the samples of an answer in the text format.
fn collect(answer: &str, offered: &mut Offered) {
    let samples = answer.lines().filter(|line| line.starts_with("kdc_kms_"));
    for sample in samples {
        let end = sample.find(['{', ' ']).unwrap();
        let labels = offered.entry(sample[..end].to_owned()).or_default();
        let (list, _) = bracketed(&sample[end..], '{', '}').unwrap_or_default();
        for (label, value) in matchers_in(list) {
            labels.entry(label).or_default().insert(value);
        }
    }
}

/// All that the program gives: with a key in OpenBao, and with one in a file whose calls fail too.
async fn offered() -> Offered {
    let mut offered = Offered::new();
    let prepared = Prepared::start().await;
    let secret_id = prepared.set_up_approle();
    let (running, http) = prepared.serve(&secret_id).await;
    let mut client = prepared.place.client().await;
    let wrapped = encrypt(&mut client, &[7; 32]).await.unwrap();
    decrypt(&mut client, &wrapped).await.unwrap();
    collect(&get(&http, "/metrics"), &mut offered);
    assert!(running.stop().await.success());

    let mut command = prepared.place.command();
    command.args(["--http-address", "127.0.0.1:0"]);
    let running = prepared.place.start(command).await;
    let mut client = prepared.place.client().await;
    encrypt(&mut client, &[]).await.unwrap_err();
    collect(
        &get(&http_address(&prepared.place.log()), "/metrics"),
        &mut offered,
    );
    assert!(running.stop().await.success());
    offered
}

/// Values that a label can have beside those that were seen.
fn possible(label: &str) -> BTreeSet<String> {
    let owned = |text: &str| text.to_owned();
    match label {
        "code" => (0..=16)
            .map(|code| snake_case(Code::from_i32(code)))
            .collect(),
        "operation" => Operation::ALL
            .iter()
            .map(|one| owned(one.as_str()))
            .collect(),
        "outcome" => Outcome::ALL.iter().map(|one| owned(one.as_str())).collect(),
        _ => BTreeSet::new(),
    }
}

fn snake_case(code: Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// Holds an expression, and the labels in the texts that go with it, against what there is.
fn check(place: &str, expression: &str, texts: &[&str], offered: &Offered) {
    let asked = Asked::by(expression);
    assert!(!asked.selectors.is_empty(), "{place}");
    let mut labels: BTreeSet<&str> = OF_TARGETS.into();
    for (metric, matchers) in &asked.selectors {
        if metric == "up" {
            continue;
        }
        let known = offered
            .get(metric)
            .unwrap_or_else(|| panic!("{place}: no {metric}"));
        labels.extend(known.keys().map(String::as_str));
        for (label, wanted) in matchers {
            if OF_TARGETS.contains(&label.as_str()) {
                continue;
            }
            let seen = known
                .get(label)
                .unwrap_or_else(|| panic!("{place}: {metric} has no {label}"));
            let possible = possible(label);
            let is_value = |value: &str| seen.contains(value) || possible.contains(value);
            let is_variable = wanted.starts_with('$');
            assert!(
                is_variable || wanted.split('|').all(is_value),
                "{place}: {label} is never {wanted}"
            );
        }
    }
    for label in &asked.grouping {
        assert!(labels.contains(label.as_str()), "{place}: no label {label}");
    }
    for text in texts {
        for template in text.split("{{").skip(1) {
            let inner = template
                .split("}}")
                .next()
                .unwrap()
                .split('|')
                .next()
                .unwrap()
                .trim();
            let label = inner.strip_prefix("$labels.").unwrap_or(inner);
            assert!(
                label == "$value" || labels.contains(label),
                "{place}: no label {label}"
            );
        }
    }
}

fn rules() -> Vec<Value> {
    let alerts = yaml(&text("monitoring/alerts.yaml"));
    let groups = alerts["groups"].as_array().unwrap().iter();
    groups
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&text("monitoring/dashboard.json")).unwrap();
    dashboard["panels"].as_array().unwrap().clone()
}

#[tokio::test]
async fn alerts_and_dashboard_name_only_what_the_program_measures() {
    let offered = offered().await;
    for rule in rules() {
        let texts =
            ["summary", "description"].map(|name| rule["annotations"][name].as_str().unwrap());
        check(
            rule["alert"].as_str().unwrap(),
            rule["expr"].as_str().unwrap(),
            &texts,
            &offered,
        );
    }
    let mut shown = BTreeSet::new();
    for panel in panels() {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        for target in &targets {
            let expression = target["expr"].as_str().unwrap();
            let legend = target["legendFormat"].as_str().unwrap();
            check(
                panel["title"].as_str().unwrap(),
                expression,
                &[legend],
                &offered,
            );
            shown.extend(
                Asked::by(expression)
                    .selectors
                    .into_iter()
                    .map(|(metric, _)| metric),
            );
        }
    }
    let is_plain = |name: &str| !name.ends_with("_sum") && !name.ends_with("_count");
    let hidden: Vec<&String> = offered
        .keys()
        .filter(|name| is_plain(name) && !shown.contains(*name))
        .collect();
    assert!(hidden.is_empty(), "on no panel: {hidden:?}");
}

#[test]
fn every_alert_says_what_to_do_and_has_a_test_in_which_it_fires() {
    let tests = yaml(&text("monitoring/alerts.test.yaml"));
    let cases = tests["tests"].as_array().unwrap().iter();
    let queries: Vec<&Value> = cases
        .flat_map(|case| case["promql_expr_test"].as_array().unwrap())
        .collect();
    let mut names = BTreeSet::new();
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name} twice");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name}");
        for text in ["summary", "description"] {
            assert!(
                rule["annotations"][text].as_str().unwrap().len() > 20,
                "{name}"
            );
        }
        let query = format!("ALERTS{{alertname=\"{name}\", alertstate=\"firing\"}}");
        let firings = queries
            .iter()
            .filter(|query_of| query_of["expr"] == query)
            .filter(|query_of| !query_of["exp_samples"].as_array().unwrap().is_empty());
        assert_eq!(firings.count().min(1), 1, "{name} never fires");
    }
    let guide = std::fs::read_to_string(super::root().join("docs/deploying-openbao.md")).unwrap();
    let named = guide.split('`').filter(|word| word.starts_with("Kms"));
    for alert in named {
        assert!(names.contains(alert), "the guide names {alert}");
    }
}

#[test]
fn the_dashboard_has_its_variables_and_no_panel_covers_another() {
    let dashboard: Value = serde_json::from_str(&text("monitoring/dashboard.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&Value> = variables.iter().map(|variable| &variable["name"]).collect();
    assert_eq!(names, ["datasource", "key", "instance"]);
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in panels() {
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{}",
            panel["title"]
        );
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{}", panel["title"]);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(
                cells.insert(cell),
                "{} covers another panel",
                panel["title"]
            );
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(
            panel["datasource"]["uid"], "${datasource}",
            "{}",
            panel["title"]
        );
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(
                target["datasource"]["uid"], "${datasource}",
                "{}",
                panel["title"]
            );
        }
    }
}
