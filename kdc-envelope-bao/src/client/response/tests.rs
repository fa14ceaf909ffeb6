//! Answers as OpenBao 2.6.2 and 2.7.2 gave them, and what is made of each.

use proptest::prelude::*;

use super::*;

#[expect(
    clippy::unwrap_in_result,
    reason = "headers and statuses of tests are right"
)]
fn judged(
    status: u16,
    body: &str,
    headers: &[(&str, &str)],
    is_batch: bool,
) -> Result<Response, BaoError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(
            reqwest::header::HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
    }
    let question = Question {
        operation: "POST",
        path: "transit/decrypt/k",
        namespace: None,
        is_batch,
    };
    let answer = Response {
        status: StatusCode::from_u16(status).unwrap(),
        address: "http://bao".into(),
        body: Zeroizing::new(body.as_bytes().to_vec()),
        index: None,
        server_time: None,
    };
    judge(question, &map, answer)
}

fn error(status: u16, text: &str) -> BaoError {
    let body = serde_json::json!({ "errors": [text] }).to_string();
    judged(status, &body, &[], false).unwrap_err()
}

#[test]
fn the_two_kinds_of_403_are_told_apart() {
    let bare = error(403, "permission denied");
    assert!(matches!(bare, BaoError::Unauthenticated { .. }), "{bare:?}");
    let listed = error(403, "1 error occurred:\n\t* permission denied\n\n");
    assert!(matches!(listed, BaoError::Forbidden { .. }), "{listed:?}");
    let vault = error(
        403,
        "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n",
    );
    assert!(
        matches!(vault, BaoError::Unauthenticated { .. }),
        "{vault:?}"
    );
}

#[test]
fn what_passes_by_itself_is_transient() {
    for (status, text) in [
        (400, "invalid ciphertext: version is too new"),
        (
            400,
            "namespace with that name exists and is currently being created or deleted",
        ),
        (
            400,
            "requested version for encryption is higher than the latest key version",
        ),
        (500, "transaction commit failed"),
        (
            500,
            "local node not active but active cluster node not found",
        ),
        (500, "internal error"),
        (503, "Vault is sealed"),
        (503, "namespace is sealed"),
        (503, "node is not active"),
        (
            429,
            "request path \"transit/decrypt/k\": rate limit quota exceeded",
        ),
        (502, "upstream rate limited"),
    ] {
        let error = error(status, text);
        assert_eq!(error.class(), crate::BaoErrorClass::Transient, "{error:?}");
    }
}

#[test]
fn what_never_passes_is_not_retried() {
    for (status, text) in [
        (400, "invalid ciphertext: no prefix"),
        (
            400,
            "missing 'context' for key derivation; the key was created using a derived key",
        ),
        (405, "unsupported operation"),
        (413, "http: request body too large"),
        (500, "failed to parse batch input: missing field"),
        (500, "refusing to use soft-deleted key"),
        (500, "past the max TTL, cannot renew"),
    ] {
        let error = error(status, text);
        assert_eq!(error.class(), crate::BaoErrorClass::Rejected, "{error:?}");
    }
    for (status, text) in [
        (
            404,
            "no handler for route \"transit/keys/k\". route entry not found.",
        ),
        (404, "namespace not found"),
        (400, "encryption key not found"),
        (400, "No secret engine mount at transit/"),
        (400, "no existing key named k could be found"),
    ] {
        let error = error(status, text);
        assert_eq!(error.class(), crate::BaoErrorClass::Missing, "{error:?}");
    }
}

#[test]
fn an_empty_429_with_retry_after_and_one_without_are_both_worth_another_try() {
    let lagging = judged(429, r#"{"errors":[]}"#, &[("retry-after", "1")], false).unwrap_err();
    assert!(
        matches!(lagging, BaoError::Throttled { retry_after: Some(wait), .. } if wait.as_secs() == 1)
    );
    let empty = judged(429, r#"{"errors":[]}"#, &[], false).unwrap_err();
    assert!(matches!(empty, BaoError::Lagging { .. }));
}

#[test]
fn a_retry_after_may_be_a_date_and_is_bounded() {
    let date = [
        ("date", "Tue, 24 Nov 2026 18:00:00 GMT"),
        ("retry-after", "Tue, 24 Nov 2026 18:00:07 GMT"),
    ];
    let wait = |headers: &[(&str, &str)]| match judged(429, r#"{"errors":["x"]}"#, headers, false) {
        Err(BaoError::Throttled { retry_after, .. }) => retry_after.map(|wait| wait.as_secs()),
        other => panic!("{other:?}"),
    };
    assert_eq!(wait(&date), Some(7));
    assert_eq!(wait(&[("retry-after", "99999999999")]), Some(3_600));
    assert_eq!(wait(&[("retry-after", "soon")]), None);
}

#[test]
fn parts_of_a_batch_have_errors_of_their_own() {
    let body = r#"{"data":{"batch_results":[{"error":"x"}]}}"#;
    assert_eq!(judged(400, body, &[], true).unwrap().status(), 400);
    assert!(judged(400, body, &[], false).is_err());
    assert!(
        judged(
            400,
            r#"{"errors":["missing batch input to process"]}"#,
            &[],
            true
        )
        .is_err()
    );
}

#[test]
fn what_is_not_json_comes_from_another_server() {
    let page = judged(404, "<html>", &[], false).unwrap_err();
    assert!(matches!(page, BaoError::Unintelligible { .. }));
    for status in [400, 401, 403, 404] {
        for body in ["{}", r#"{"message":"no Route matched with those values"}"#] {
            let foreign = judged(status, body, &[], false).unwrap_err();
            let is_told = matches!(foreign, BaoError::Unintelligible { .. });
            assert!(is_told, "{status} {body}: {foreign:?}");
        }
    }
    for body in ["<html>It works!</html>", "", " ", "[]", "ok", "{"] {
        let foreign = judged(200, body, &[], false).unwrap_err();
        let is_told = matches!(foreign, BaoError::Unintelligible { .. });
        assert!(is_told, "{body}: {foreign:?}");
    }
    assert!(judged(204, "", &[], false).is_ok());
    assert!(judged(200, " {}\n", &[], false).is_ok());
    let gateway = judged(502, "<html>", &[], false).unwrap_err();
    assert!(matches!(gateway, BaoError::Unready { status: 502, .. }));
}

#[test]
fn words_of_the_server_stay_one_short_line() {
    assert_eq!(
        words(&["a\n\tb\u{1b}[31m".into(), "c".into()]),
        "a b [31m; c"
    );
    let long = words(&["x".repeat(1_000).into()]);
    assert_eq!(long.len(), MAX_MESSAGE_CHARS + 3);
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(status in 100u16..1000, body in ".{0,200}", batch: bool) {
        let _ = judged(status, &body, &[], batch);
    }
}
