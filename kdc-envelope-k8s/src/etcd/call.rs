//! Calls of etcd, as a user if it asks for one.
//!
//! `Authenticate` gives a token for name and password, which every call carries as metadata. It ends after a while (five minutes
//! without use, unless etcd is told otherwise), when users or roles change, and with simple tokens when another member
//! answers. etcd then refuses it, and a new one is asked for, once per call.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::Arc;

use tokio::sync::Mutex;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use zeroize::Zeroizing;

use super::error::NO_ANSWER;
use super::messages::{AuthenticateRequest, AuthenticateResponse};

/// The longest response. etcd takes rows of 1.5 MiB unless it was told otherwise.
const MAX_RESPONSE_LEN: usize = 512 << 20;
/// The field of the metadata that etcd looks for.
const TOKEN_FIELD: &str = "token";

/// A client of one member. Copies share the connection and the token.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) channel: Channel,
    pub(super) timeout: Duration,
    login: Option<Arc<Login>>,
}

/// A user of etcd, and the token that was given last.
pub(super) struct Login {
    user: String,
    password: Zeroizing<String>,
    token: Mutex<Token>,
    is_needless: AtomicBool,
}

/// What is known of the token.
#[derive(Clone, PartialEq)]
enum Token {
    Unknown,
    /// This etcd has no users.
    NotNeeded,
    Given(MetadataValue<Ascii>),
}

impl core::fmt::Debug for Login {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Login {
    pub(super) fn new(user: String, password: Zeroizing<String>) -> Self {
        Self {
            user,
            password,
            token: Mutex::new(Token::Unknown),
            is_needless: AtomicBool::new(false),
        }
    }
}

impl Caller {
    pub(super) fn new(channel: Channel, timeout: Duration, login: Option<Arc<Login>>) -> Self {
        Self {
            channel,
            timeout,
            login,
        }
    }

    /// The same user at another member. A token that this one does not know is refused, and a new one asked for.
    pub(super) fn elsewhere(&self, channel: Channel) -> Self {
        Self {
            channel,
            ..self.clone()
        }
    }

    /// The name of the user, if there is one.
    pub(super) fn user(&self) -> Option<&str> {
        self.login.as_ref().map(|login| login.user.as_str())
    }

    /// Whether a user was named and etcd turned out to have none.
    pub(super) fn login_is_needless(&self) -> bool {
        let login = self.login.as_ref();
        login.is_some_and(|login| login.is_needless.load(Ordering::Relaxed))
    }

    /// Asks, and once more with a new token if the one at hand is no longer taken.
    pub(super) async fn call<Q, A>(self, path: &'static str, question: Q) -> Result<A, Status>
    where
        Q: prost::Message + Clone + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let token = self.token(&Token::Unknown).await?;
        match self.once(path, question.clone(), &token).await {
            Err(status) if self.is_outdated(&status) => {
                let token = self.token(&token).await?;
                self.once(path, question, &token).await
            }
            answer => answer,
        }
    }

    async fn once<Q, A>(&self, path: &'static str, question: Q, token: &Token) -> Result<A, Status>
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let call = async {
            let mut grpc =
                Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_RESPONSE_LEN);
            grpc.ready()
                .await
                .map_err(|error| Status::from_error(error.into()))?;
            let path = PathAndQuery::from_static(path);
            let codec = ProstCodec::<Q, A>::default();
            grpc.unary(token.on(question), path, codec).await
        };
        let late = || Status::deadline_exceeded(NO_ANSWER);
        let answer = tokio::time::timeout(self.timeout, call).await;
        answer
            .unwrap_or_else(|_| Err(late()))
            .map(tonic::Response::into_inner)
    }

    /// A request that carries the token, for calls that are no question and answer.
    pub(super) async fn request<Q>(&self, message: Q) -> Result<Request<Q>, Status> {
        let token = self.token(&Token::Unknown).await?;
        Ok(token.on(message))
    }

    /// As [`Self::request`], after the token of that was refused.
    pub(super) async fn request_again<Q>(&self, message: Q) -> Result<Request<Q>, Status> {
        let refused = match &self.login {
            Some(login) => login.token.lock().await.clone(),
            None => Token::NotNeeded,
        };
        let token = self.token(&refused).await?;
        Ok(token.on(message))
    }

    /// Whether etcd no longer takes the token.
    pub(super) fn is_outdated(&self, status: &Status) -> bool {
        let is_old = status.code() == Code::InvalidArgument && status.message().contains("is old");
        self.login.is_some() && (status.code() == Code::Unauthenticated || is_old)
    }

    /// The token at hand, or a new one if there is none but the `refused` one.
    async fn token(&self, refused: &Token) -> Result<Token, Status> {
        let Some(login) = &self.login else {
            return Ok(Token::NotNeeded);
        };
        let mut known = login.token.lock().await;
        if *known == Token::Unknown || *known == *refused {
            *known = self.authenticate(login).await?;
        }
        Ok(known.clone())
    }

    async fn authenticate(&self, login: &Login) -> Result<Token, Status> {
        let question = AuthenticateRequest {
            name: login.user.clone(),
            password: login.password.to_string(),
        };
        let path = "/etcdserverpb.Auth/Authenticate";
        let answer: AuthenticateResponse = match self.once(path, question, &Token::NotNeeded).await
        {
            Err(status) if status.message().contains("authentication is not enabled") => {
                login.is_needless.store(true, Ordering::Relaxed);
                return Ok(Token::NotNeeded);
            }
            answer => answer?,
        };
        let token = answer.token.parse();
        let token = token.map_err(|_| Status::internal("etcd returned an invalid token"))?;
        Ok(Token::Given(token))
    }
}

impl Token {
    fn on<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        if let Self::Given(token) = self {
            request.metadata_mut().insert(TOKEN_FIELD, token.clone());
        }
        request
    }
}
