use serde_json::{Value, json};

use super::*;

fn object() -> Object {
    Object {
        namespace: "default".into(),
        name: "one".into(),
        uid: "u1".into(),
        version: "7".into(),
    }
}

fn response(status: u16, body: &Value) -> Response {
    Response {
        status,
        body: body.to_string().into_bytes(),
        ..Response::default()
    }
}

fn status(code: u16, reason: &str, message: &str) -> Response {
    let body = json!({"kind": "Status", "code": code, "reason": reason, "message": message});
    response(code, &body)
}

fn judged(response: &Response) -> Verdict {
    judge_patch(&object(), response)
}

fn listed(response: &Response) -> Listed {
    judge_list(&GroupResource::from_text("secrets"), response).unwrap()
}

fn kind(verdict: Verdict) -> FailureKind {
    match verdict {
        Verdict::Failed(failure) => failure.kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_same_object_is_current_or_rewritten() {
    let head = |uid: &str, version: &str| json!({"kind": "PartialObjectMetadata", "metadata": {"name": "one", "uid": uid, "resourceVersion": version}});
    assert_eq!(judged(&response(200, &head("u1", "7"))), Verdict::Current);
    assert_eq!(judged(&response(200, &head("u1", "8"))), Verdict::Rewritten);
    for other in [head("u2", "8"), json!({}), json!("It works!")] {
        assert_eq!(kind(judged(&response(200, &other))), FailureKind::Request);
    }
}

#[test]
fn rights_and_admission_are_told_apart() {
    let rights = r#"secrets "one" is forbidden: User "eve" cannot patch resource "secrets" in API group "" in the namespace "default""#;
    assert!(matches!(
        judged(&status(403, "Forbidden", rights)),
        Verdict::Denied { .. }
    ));
    let policy = r#"secrets "one" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"#;
    let Verdict::Refused(why) = judged(&status(403, "Forbidden", policy)) else {
        panic!("not refused");
    };
    assert_eq!(*why, *format!("{policy} (403)"));
    assert!(matches!(
        judged(&status(401, "Unauthorized", "Unauthorized")),
        Verdict::Denied { .. }
    ));
    // Of a proxy.
    let Verdict::Denied { why, .. } = judged(&response(403, &json!("<html>"))) else {
        panic!("not denied");
    };
    assert_eq!(&*why, "status 403 without the reason of an API server");
}

#[test]
fn a_conflict_or_a_missing_object_must_be_told_by_an_api_server() {
    assert!(matches!(
        judged(&status(409, "Conflict", "changed")),
        Verdict::Changed(_)
    ));
    assert!(matches!(
        judged(&status(404, "NotFound", "no one")),
        Verdict::Changed(_)
    ));
    for code in [404, 409, 400, 302] {
        assert_eq!(
            kind(judged(&response(code, &json!("x")))),
            FailureKind::Server,
            "{code}"
        );
    }
    assert!(matches!(
        judged(&status(409, "AlreadyExists", "x")),
        Verdict::Refused(_)
    ));
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_refused() {
    let mut busy = status(429, "TooManyRequests", "later");
    busy.retry_after = Some(Duration::from_secs(3));
    let wait = FailureKind::Busy(Some(Duration::from_secs(3)));
    assert_eq!(kind(judged(&busy)), wait);
    assert_eq!(kind(judged(&status(503, "", "x"))), FailureKind::Busy(None));
    assert_eq!(
        kind(judged(&status(504, "Timeout", "x"))),
        FailureKind::Server
    );
    let etcd = status(500, "", "etcdserver: no leader");
    assert_eq!(kind(judged(&etcd)), FailureKind::Server);
    let webhook = status(500, "InternalError", "failed calling webhook \"w\"");
    assert_eq!(kind(judged(&webhook)), FailureKind::Request);
    for code in [400, 405, 413, 422] {
        assert!(
            matches!(judged(&status(code, "x", "y")), Verdict::Refused(_)),
            "{code}"
        );
    }
}

#[test]
fn what_etcd_will_never_take_is_refused_with_what_to_do() {
    let Verdict::Refused(why) = judged(&status(500, "", "etcdserver: request is too large")) else {
        panic!("not refused");
    };
    assert!(
        why.starts_with("etcdserver: request is too large (500); ")
            && why.contains("--max-request-bytes"),
        "{why}"
    );
    let Verdict::Refused(why) = judged(&status(413, "RequestEntityTooLarge", "limit is 3145728"))
    else {
        panic!("not refused");
    };
    assert!(why.contains("make the object smaller"), "{why}");
}

#[test]
fn a_storage_that_takes_nothing_ends_the_pass_at_once() {
    let full = status(500, "", "etcdserver: mvcc: database space exceeded");
    assert!(
        matches!(judged(&full), Verdict::Storage(_, advice) if advice.contains("etcdctl alarm disarm"))
    );
    let denied = status(500, "", "etcdserver: permission denied");
    let error = judge_list(&GroupResource::from_text("secrets"), &denied).unwrap_err();
    assert!(matches!(error, RewriteError::Storage { .. }), "{error}");
    let error = judge_other(Verb::Get, "/apis", &denied).unwrap_err();
    assert!(
        error.to_string().starts_with(
            "the API server cannot get /apis, because its etcd refuses: etcdserver: permission denied (500); "
        ),
        "{error}"
    );
}

#[test]
fn a_row_without_a_key_is_refused_but_not_while_the_plugin_is_away() {
    let lost = "Internal error occurred: unable to transform key \"/registry/secrets/default/one\": no matching prefix found";
    assert!(matches!(
        judged(&status(500, "InternalError", lost)),
        Verdict::Refused(_)
    ));
    let away = "Internal error occurred: unable to transform key \"/a\": failed to decrypt DEK, error: rpc error: code = Unavailable";
    assert_eq!(
        kind(judged(&status(500, "InternalError", away))),
        FailureKind::Server
    );
    let response = listed(&status(429, "TooManyRequests", lost));
    assert!(
        matches!(response, Listed::Unreadable(why) if why.contains("/registry/secrets/default/one"))
    );
    let starting = status(429, "TooManyRequests", "storage is (re)initializing");
    assert!(matches!(listed(&starting), Listed::Failed(_)));
}

#[test]
fn the_values_of_an_object_are_not_repeated() {
    let body = json!({
        "kind": "Status", "reason": "Invalid", "message": "Widget \"one\" is invalid: spec.password: Invalid value: \"hunter2\"",
        "details": {"causes": [
            {"reason": "FieldValueInvalid", "message": "Invalid value: \"hunter2\": too short", "field": "spec.password"},
        ]},
    });
    let Verdict::Refused(why) = judged(&response(422, &body)) else {
        panic!("not refused");
    };
    assert_eq!(&*why, "spec.password: FieldValueInvalid (422)");
}

#[test]
fn a_page_has_objects_a_token_and_an_estimate() {
    let body = json!({
        "kind": "PartialObjectMetadataList",
        "metadata": {"continue": "t", "remainingItemCount": 5},
        "items": [{"metadata": {"name": "one", "namespace": "default", "uid": "u1", "resourceVersion": "7"}}],
    });
    let Listed::Page(page) = listed(&response(200, &body)) else {
        panic!("no page");
    };
    assert_eq!(page.objects, [object()]);
    assert_eq!(
        (page.token.as_deref(), page.remaining),
        (Some("t"), Some(5))
    );
    let Listed::Page(page) = listed(&response(
        200,
        &json!({"kind": "PartialObjectMetadataList", "items": null}),
    )) else {
        panic!("no page");
    };
    assert!(page.objects.is_empty() && page.token.is_none());
}

#[test]
fn what_is_no_list_is_not_taken_for_an_empty_one() {
    let nameless = json!({"kind": "SecretList", "items": [{"metadata": {}}]});
    let of_another_server = json!({"items": []});
    for body in [
        json!({}),
        json!("x"),
        json!({"kind": "Status"}),
        nameless,
        of_another_server,
    ] {
        assert!(
            matches!(listed(&response(200, &body)), Listed::Failed(_)),
            "{body}"
        );
    }
}

#[test]
fn a_list_that_will_never_come_is_an_error_with_the_name() {
    let refused = |response: &Response| judge_list(&GroupResource::from_text("secrets"), response);
    let error = refused(&status(403, "Forbidden", "no")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the API server does not allow to list secrets: no (403); grant the right, or use other credentials"
    );
    let error = refused(&status(404, "NotFound", "no")).unwrap_err();
    assert!(matches!(error, RewriteError::NoSuchResource { .. }));
    let error = refused(&status(400, "BadRequest", "no")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the API server answered the attempt to list secrets with no (400)"
    );
}

#[test]
fn an_expired_token_may_come_with_another() {
    let mut body = json!({"kind": "Status", "reason": "Expired", "metadata": {"continue": "next"}});
    assert!(
        matches!(listed(&response(410, &body)), Listed::Expired(Some(token)) if token == "next")
    );
    body["metadata"] = json!({});
    assert!(matches!(
        listed(&response(410, &body)),
        Listed::Expired(None)
    ));
}

#[test]
fn a_line_has_no_control_characters_and_an_end() {
    assert_eq!(
        &*one_line("a\r\n\tb\u{1b}[31m\u{202e}c\u{2028}d  e\n"),
        "a b [31m c d e"
    );
    assert_eq!(
        one_line(&"x".repeat(10_000)).chars().count(),
        LONGEST_LINE + 1
    );
    assert_eq!(&*one_line("\n"), "");
}
