//! Answers that no client of S3 may believe, or must understand: seen in the field, or made by attackers.
//!
//! Each befalls some requests to a server that is otherwise sound, through a
//! [`Proxy`](crate::Proxy).

use crate::proxy::{Fault, Rule};

/// What asks for what a hostile answer is given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asker {
    /// Whoever lists.
    List,
    /// Whoever stores a snapshot that is shorter than a part.
    Store,
    /// Whoever stores a snapshot in parts.
    StoreLong,
    /// Whoever reads metadata.
    ReadMetadata,
    /// Whoever reads data.
    ReadData,
    /// Whoever deletes.
    Delete,
}

/// A named answer, and how `kdc` must end.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Hostile {
    /// Its name.
    pub name: &'static str,
    /// Who meets it.
    pub asker: Asker,
    /// What is done to the requests that it befalls.
    pub rule: Rule,
    /// The exit code.
    pub exit: i32,
    /// What the one line must tell.
    pub words: &'static str,
}

const LIST: &str = "?list-type";
const PAGE: &str = "<!doctype html><html><body><div id=\"root\"></div></body></html>";
const OBJECT: &str = "<Contents><Key>K</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>1</Size></Contents>";
const END: &str = "<IsTruncated>false</IsTruncated>";
/// Bytes of an answer that does not end in time.
const HUGE: usize = 500 << 20;

/// All of them, for a bucket whose objects are below `prefix`, which is empty
/// or ends in a slash.
#[must_use]
pub fn answers(prefix: &str) -> Vec<Hostile> {
    let mut all = listings(prefix);
    all.extend(refusals());
    all.extend(objects());
    all.extend(writes());
    all
}

/// `on` is the method with a space, a part of path and query, or both.
fn hostile(
    name: &'static str,
    (asker, on): (Asker, &str),
    fault: Fault,
    (exit, words): (i32, &'static str),
) -> Hostile {
    let parts = on.split_inclusive(' ');
    let rule = parts.fold(Rule::from(fault), |rule, part| rule.on(part));
    Hostile {
        name,
        asker,
        rule,
        exit,
        words,
    }
}

fn xml(status: u16, body: &str) -> Fault {
    Fault::answer(status, &[("content-type", "application/xml")], body)
}

fn error(status: u16, code: &str, message: &str) -> Fault {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    xml(status, &body)
}

fn page() -> Fault {
    let headers = [
        ("content-type", "text/html"),
        ("server", "MinIO Console"),
        ("etag", "\"x\""),
    ];
    Fault::answer(200, &headers, PAGE)
}

/// Listings of status 200 from which nothing follows.
fn listings(prefix: &str) -> Vec<Hostile> {
    let listing = |inside: &str| {
        let inside = inside.replace("<Key>", &format!("<Key>{prefix}"));
        xml(
            200,
            &format!("<?xml version=\"1.0\"?><ListBucketResult>{inside}</ListBucketResult>"),
        )
    };
    let list = (Asker::List, LIST);
    let token = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";
    let cut = format!("<ListBucketResult>{END}{OBJECT}");
    let other = format!(
        "<ListBucketResult xmlns=\"http://www.w3.org/1999/xhtml\">{END}</ListBucketResult>"
    );
    let second = OBJECT.replace(">K<", ">A<");
    let foreign = format!(
        "<ListBucketResult>{END}{}</ListBucketResult>",
        OBJECT.replace(">K<", ">..foreign<")
    );
    let (not_s3, odd) = ((65, "is not an S3 server"), (65, "does not answer as S3"));
    let short = (65, "stops short");
    let mut all = vec![
        hostile(
            "web page",
            list,
            page(),
            (65, "an HTML page (its server: MinIO Console)"),
        ),
        hostile(
            "web page without a type",
            list,
            Fault::answer(200, &[], PAGE),
            not_s3,
        ),
        hostile(
            "nothing",
            list,
            Fault::answer(200, &[], ""),
            (65, "it gave nothing"),
        ),
        hostile("json", list, Fault::garbage(), not_s3),
        hostile(
            "huge",
            list,
            Fault::Oversized(HUGE),
            (65, "more than 8 MiB"),
        ),
        hostile(
            "other document",
            list,
            xml(200, "<ListAllMyBucketsResult/>"),
            (65, "`ListAllMyBucketsResult`"),
        ),
        hostile("other namespace", list, xml(200, &other), odd),
        hostile("cut off", list, xml(200, &cut), (65, "damaged or cut off")),
        hostile(
            "text behind",
            list,
            xml(200, &format!("<ListBucketResult>{END}</ListBucketResult>x")),
            odd,
        ),
        hostile(
            "only the name",
            list,
            xml(200, "<ListBucketResult/>"),
            (65, "`IsTruncated`"),
        ),
        hostile(
            "no size",
            list,
            listing(&format!("{END}{}", OBJECT.replace("<Size>1</Size>", ""))),
            (65, "`Size`"),
        ),
        hostile(
            "fewer than counted",
            list,
            listing(&format!("{END}<KeyCount>2</KeyCount>{OBJECT}")),
            (65, "KeyCount"),
        ),
        hostile(
            "encoded keys",
            list,
            listing(&format!("{END}<EncodingType>url</EncodingType>{OBJECT}")),
            (65, "EncodingType"),
        ),
        hostile(
            "short without a way on",
            list,
            listing("<IsTruncated>true</IsTruncated>"),
            short,
        ),
        hostile(
            "first page again",
            list,
            listing(&format!("<IsTruncated>true</IsTruncated>{OBJECT}")),
            (65, "same page again"),
        ),
        hostile(
            "token again",
            list,
            listing(&format!("{token}{OBJECT}")),
            (65, "same page again"),
        ),
        hostile(
            "token again without objects",
            list,
            listing(token),
            (65, "same token again"),
        ),
        hostile(
            "unsorted",
            list,
            listing(&format!("{END}{OBJECT}{second}")),
            (65, "not sorted"),
        ),
        hostile(
            "key twice",
            list,
            listing(&format!("{END}{OBJECT}{OBJECT}")),
            (65, "not sorted"),
        ),
        hostile(
            "error of status 200",
            list,
            error(200, "AccessDenied", "Access Denied"),
            (77, "s3:ListBucket"),
        ),
    ];
    if !prefix.is_empty() {
        all.push(hostile(
            "foreign key",
            list,
            xml(200, &foreign),
            (65, "which is not below"),
        ));
        let other = format!("{END}<Prefix>other/</Prefix>");
        all.push(hostile(
            "other prefix",
            list,
            listing(&other),
            (65, "another prefix"),
        ));
    }
    all
}

/// What a server refuses a listing for.
fn refusals() -> Vec<Hostile> {
    let list = (Asker::List, LIST);
    let redirect = |to: &str| Fault::answer(307, &[("location", to)], "");
    let cases = [
        (
            "clock",
            error(403, "RequestTimeTooSkewed", "skewed"),
            (77, "set the clock"),
        ),
        (
            "key id",
            error(403, "InvalidAccessKeyId", "x"),
            (77, "AWS_ACCESS_KEY_ID"),
        ),
        (
            "secret",
            error(403, "SignatureDoesNotMatch", "x"),
            (77, "AWS_SECRET_ACCESS_KEY"),
        ),
        (
            "token",
            error(400, "ExpiredToken", "x"),
            (77, "has expired"),
        ),
        (
            "right",
            error(403, "AccessDenied", "Access Denied"),
            (77, "grant s3:ListBucket"),
        ),
        (
            "bare 403",
            Fault::answer(403, &[], ""),
            (77, "grant s3:ListBucket"),
        ),
        (
            "no bucket",
            error(404, "NoSuchBucket", "x"),
            (66, "there is no such bucket"),
        ),
        (
            "page of 404",
            Fault::answer(404, &[("content-type", "text/html")], "<html>404</html>"),
            (65, "status 404"),
        ),
        (
            "text of 404",
            Fault::answer(404, &[], "default backend - 404"),
            (65, "status 404"),
        ),
        (
            "page of 405",
            Fault::answer(405, &[("content-type", "text/html")], "<html>405</html>"),
            (65, "status 405"),
        ),
        (
            "plain to tls",
            Fault::answer(
                400,
                &[("content-type", "text/html")],
                "<html>The plain HTTP request was sent to HTTPS port</html>",
            ),
            (78, "https://"),
        ),
        (
            "plain to tls, in text",
            Fault::answer(
                400,
                &[],
                "Client sent an HTTP request to an HTTPS server.\n",
            ),
            (78, "https://"),
        ),
        (
            "region",
            Fault::answer(301, &[("x-amz-bucket-region", "eu-west-1")], ""),
            (78, "--s3-region eu-west-1"),
        ),
        (
            "region in XML",
            xml(
                400,
                "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>",
            ),
            (78, "--s3-region eu-west-1"),
        ),
        (
            "redirect",
            redirect("http://elsewhere.example/b?x=y"),
            (78, "redirects to http://elsewhere.example,"),
        ),
        (
            "redirect to a login",
            redirect("/login"),
            (78, "redirects to another of its pages"),
        ),
        (
            "virtual host",
            error(
                403,
                "SecondLevelDomainForbidden",
                "use virtual hosted style",
            ),
            (78, "--s3-addressing virtual"),
        ),
    ];
    let mut all = Vec::new();
    for (name, fault, ends) in cases {
        all.push(hostile(name, list, fault, ends));
    }
    all
}

/// Answers about objects.
fn objects() -> Vec<Hostile> {
    let metadata = (Asker::ReadMetadata, "GET /metadata.json");
    let data = (Asker::ReadData, "GET /snapshot.db.enc");
    let head = (Asker::Store, "HEAD ");
    let without_length = b"HTTP/1.1 200 OK\r\netag: \"x\"\r\nconnection: close\r\n\r\n";
    let of_page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 60\r\nconnection: close\r\n\r\n";
    let archived = error(
        403,
        "InvalidObjectState",
        "The operation is not valid for the object's storage class",
    );
    vec![
        hostile("metadata is a page", metadata, page(), (65, "an HTML page")),
        hostile(
            "metadata is a page without a type",
            metadata,
            Fault::answer(200, &[], PAGE),
            (65, "an HTML page"),
        ),
        hostile(
            "page where nothing should be",
            (Asker::Store, metadata.1),
            Fault::answer(200, &[], PAGE),
            (65, "an HTML page"),
        ),
        hostile(
            "metadata is a page of 404",
            metadata,
            Fault::answer(404, &[("content-type", "text/html")], PAGE),
            (65, "status 404"),
        ),
        hostile("data is a page", data, page(), (65, "an HTML page")),
        hostile("data is archived", data, archived, (66, "restore it")),
        hostile(
            "head is that of a page",
            head,
            Fault::Raw(of_page.to_vec()),
            (65, "an HTML page"),
        ),
        hostile(
            "head without a length",
            head,
            Fault::Raw(without_length.to_vec()),
            (65, "without a length"),
        ),
    ]
}

/// Answers to what is stored and deleted.
fn writes() -> Vec<Hostile> {
    let put = (Asker::Store, "PUT ");
    let part = (Asker::StoreLong, "partNumber");
    let begin = (Asker::StoreLong, "?uploads");
    let complete = (Asker::StoreLong, "POST ?uploadId");
    let delete = (Asker::Delete, "DELETE ");
    let no_conditions = error(
        501,
        "NotImplemented",
        "A header you provided implies functionality that is not implemented",
    );
    let stored = Fault::answer(200, &[("etag", "\"x\"")], "");
    let checksum = "The algorithm type you specified in x-amz-checksum- header is invalid.";
    let demand = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters";
    vec![
        hostile(
            "put answered with a page",
            put,
            page(),
            (65, "an HTML page"),
        ),
        hostile(
            "put without a tag",
            put,
            Fault::answer(200, &[], ""),
            (65, "no ETag"),
        ),
        hostile(
            "put of nothing",
            put,
            stored,
            (74, "said that it is stored"),
        ),
        hostile(
            "put with an error",
            put,
            error(200, "AccessDenied", "x"),
            (77, "s3:PutObject"),
        ),
        hostile("no conditional writes", put, no_conditions, (78, "not fit")),
        hostile(
            "checksum not known",
            put,
            error(400, "InvalidRequest", checksum),
            (78, "--s3-checksum"),
        ),
        hostile(
            "checksum demanded",
            put,
            error(400, "InvalidRequest", demand),
            (78, "--s3-checksum sha256"),
        ),
        hostile(
            "full",
            put,
            error(403, "QuotaExceeded", "quota"),
            (74, "raise the quota"),
        ),
        hostile(
            "full by status",
            put,
            error(507, "XMinioStorageFull", "full"),
            (74, "no more room"),
        ),
        hostile(
            "altered",
            put,
            error(400, "BadDigest", "x"),
            (74, "not what was sent"),
        ),
        hostile(
            "too long for a proxy",
            part,
            Fault::answer(413, &[], ""),
            (74, "that of a proxy"),
        ),
        hostile(
            "begin answered with a page",
            begin,
            page(),
            (65, "an HTML page"),
        ),
        hostile(
            "begin without an id",
            begin,
            xml(200, "<InitiateMultipartUploadResult/>"),
            (65, "does not answer as S3"),
        ),
        hostile(
            "completion answered with a page",
            complete,
            page(),
            (65, "an HTML page"),
        ),
        hostile(
            "completion with an error",
            complete,
            error(200, "InvalidPart", "one part is missing"),
            (74, "one part is missing"),
        ),
        hostile(
            "completion with a late error",
            complete,
            xml(200, "\n\n <Error><Code>AccessDenied</Code></Error>"),
            (77, "s3:PutObject"),
        ),
        hostile(
            "delete answered with a page",
            delete,
            page(),
            (65, "an HTML page"),
        ),
        hostile(
            "delete of a locked object",
            delete,
            error(
                403,
                "AccessDenied",
                "Access Denied because object protected by object lock.",
            ),
            (77, "object lock"),
        ),
    ]
}
