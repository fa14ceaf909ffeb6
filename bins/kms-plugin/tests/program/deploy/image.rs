//! The recipe of the image. Where no engine builds it, it is at least held against what the rest says.

use super::{pods, text};

/// Instructions and their arguments, without comments, with continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let recipe: String = text("Containerfile")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| match line.strip_suffix('\\') {
            Some(begun) => begun.to_owned(),
            None => format!("{line}\n"),
        })
        .collect();
    let lines = recipe.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(name, arguments)| (name.to_owned(), arguments.trim().to_owned()))
        .collect()
}

#[test]
fn the_image_is_one_static_program_and_its_numeric_user() {
    let all = instructions();
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["FROM", "LABEL", "COPY", "USER", "ENTRYPOINT"],
        "no stage, no RUN, no network"
    );
    let arguments = |name: &str| all.iter().find(|(one, _)| one == name).unwrap().1.as_str();
    assert_eq!(arguments("FROM"), "scratch");
    // The name that `cargo xtask dist` gives it; its folder is the context.
    let dist = std::fs::read_to_string(super::root().join("xtask/src/dist.rs")).unwrap();
    assert!(dist.contains(r#"dist.join("kms-plugin")"#) && dist.contains("+crt-static"));
    assert!(
        text("Containerfile").contains("-f deploy/Containerfile -t kms-plugin:0.1.0 target/dist\n")
    );
    assert_eq!(arguments("COPY"), "--chmod=0555 kms-plugin /kms-plugin");
    assert_eq!(arguments("ENTRYPOINT"), r#"["/kms-plugin"]"#);
    let version = env!("CARGO_PKG_VERSION");
    assert!(arguments("LABEL").contains(&format!("image.version=\"{version}\"")));

    let context = &pods::sidecar()["securityContext"];
    let user = format!("{}:{}", context["runAsUser"], context["runAsGroup"]);
    assert_eq!(arguments("USER"), user);
    for pod in pods::ALL {
        let (pod, list) = (pods::pod(pod.0), pod.1);
        let plugin = pods::container(&pod, list, "kms-plugin");
        assert_eq!(plugin["image"], format!("kms-plugin:{version}"));
        assert!(plugin["command"].is_null(), "the entrypoint of the image");
    }
}
