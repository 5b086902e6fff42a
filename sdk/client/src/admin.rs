//! The admin API of a broker, route by route.
//!
//! Promises: every call has a deadline; a refusal keeps the broker's code and sentence. Not here:
//! retries: an operator who reads the answer decides.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_wire::admin::{
    BindingSpec, Chain, ChainChange, ClockStatus, GroupDescription, GroupReset, GroupSummary,
    PartitionCleaned, PluginDescription, PluginLog, PluginReport, PluginVersion, Problem,
    ResetSpec, Status, TopicDescription, TopicSettings, TopicSpec,
};
use weir_wire::ids::{GroupName, PluginName, TopicName};

use crate::config::ClientConfig;

/// A request that only looks, or changes the catalog.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// A request that makes the broker compile or configure a plugin: its own limit is four
/// minutes of a busy machine.
const COMPILE_DEADLINE: Duration = Duration::from_secs(300);
/// For a cleaning: it reads all that goes and writes all that stays, terabytes at worst.
const CLEAN_DEADLINE: Duration = Duration::from_secs(60 * 60);
/// Bytes of an answer at most: 4,096 partitions described are under 2 MiB.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why an admin call did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AdminError {
    /// The broker refused: 4xx, change the request; 503, try again later.
    #[error("{} ({})", problem.message, problem.code)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its stable code and its sentence.
        problem: Problem,
    },
    /// Nobody answered. The operator looks whether the broker runs; whether a change was made is
    /// unknown if the connection broke half way.
    #[error("no broker answers at {admin}: {reason}; is one running there?")]
    Unreachable {
        /// Where its admin door should be.
        admin: String,
        /// What the network said.
        reason: String,
    },
    /// The answer is not this API's. Please report it, unless another server has the address.
    #[error(
        "the answer of {admin} is not weir's: {reason}; do client and broker have the same version?"
    )]
    Protocol {
        /// Who answered.
        admin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The admin address is none.
    #[error("{0}")]
    Config(String),
}

impl AdminError {
    /// The stable code, where the broker gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { problem, .. } => Some(&problem.code),
            Self::Unreachable { .. } | Self::Protocol { .. } | Self::Config(_) => None,
        }
    }
}

/// The admin API of one broker. Cheap to clone. Every method fails with [`AdminError`].
#[derive(Debug, Clone)]
pub struct Admin {
    http: reqwest::Client,
    base: Url,
    config: ClientConfig,
}

impl Admin {
    /// Prepares the way; nothing is sent yet.
    ///
    /// # Errors
    /// [`AdminError::Config`] when the address is not `http://host:port`.
    pub fn new(config: &ClientConfig) -> Result<Self, AdminError> {
        let wrong = |reason: String| {
            let admin = &config.admin;
            AdminError::Config(format!(
                "{admin:?} is no admin address: {reason}; write http://host:port"
            ))
        };
        let base = Url::parse(&config.admin).map_err(|error| wrong(error.to_string()))?;
        if base.scheme() != "http" || base.host().is_none() {
            return Err(wrong("it is not HTTP".to_owned()));
        }
        // Proxies are for the wide world; this door is on loopback.
        let http = reqwest::Client::builder().no_proxy().build();
        let http = http.map_err(|error| AdminError::Config(error.to_string()))?;
        Ok(Self { http, base, config: config.clone() })
    }

    /// The broker at a glance.
    pub async fn status(&self) -> Result<Status, AdminError> {
        self.ask(Method::GET, &["status"]).await
    }

    /// The broker's clock beside the machine's.
    pub async fn clock(&self) -> Result<ClockStatus, AdminError> {
        self.ask(Method::GET, &["clock"]).await
    }

    /// Says that the machine's clock is right although it was set: the broker's time follows it.
    pub async fn accept_clock(&self) -> Result<ClockStatus, AdminError> {
        self.ask(Method::POST, &["clock", "accept"]).await
    }

    /// All topics of users.
    pub async fn topics(&self) -> Result<Vec<TopicDescription>, AdminError> {
        self.ask(Method::GET, &["topics"]).await
    }

    /// Creates a topic.
    pub async fn create_topic(&self, spec: &TopicSpec) -> Result<TopicDescription, AdminError> {
        self.tell(Method::POST, &["topics"], spec).await
    }

    /// One topic, with its partitions.
    pub async fn topic(&self, topic: &TopicName) -> Result<TopicDescription, AdminError> {
        self.ask(Method::GET, &["topics", topic.as_str()]).await
    }

    /// Changes what a topic keeps, while it serves.
    pub async fn change_topic(
        &self,
        topic: &TopicName,
        settings: &TopicSettings,
    ) -> Result<TopicDescription, AdminError> {
        self.tell(Method::PATCH, &["topics", topic.as_str()], settings).await
    }

    /// Removes now what a topic's settings do not keep; says what it did by partition. The broker does
    /// it by itself every few seconds.
    pub async fn clean_topic(
        &self,
        topic: &TopicName,
    ) -> Result<Vec<PartitionCleaned>, AdminError> {
        let request = self.request(Method::POST, &["topics", topic.as_str(), "clean"]);
        self.answer(request.timeout(CLEAN_DEADLINE)).await
    }

    /// Deletes a topic with everything in it.
    pub async fn delete_topic(&self, topic: &TopicName) -> Result<(), AdminError> {
        self.delete(&["topics", topic.as_str()]).await
    }

    /// All plugins.
    pub async fn plugins(&self) -> Result<Vec<PluginDescription>, AdminError> {
        self.ask(Method::GET, &["plugins"]).await
    }

    /// One plugin, with its versions, and how it does wherever it is bound.
    pub async fn plugin(&self, plugin: &PluginName) -> Result<PluginReport, AdminError> {
        self.ask(Method::GET, &["plugins", plugin.as_str()]).await
    }

    /// What a plugin said lately: behind `after`, the `next` of an earlier answer, or from the oldest
    /// line on. If there is nothing yet, the broker waits for a line, but not much longer than
    /// 20 s.
    pub async fn plugin_log(
        &self,
        plugin: &PluginName,
        after: Option<&str>,
        topic: Option<&TopicName>,
        wait: Duration,
    ) -> Result<PluginLog, AdminError> {
        let mut url = self.url(&["v1", "plugins", plugin.as_str(), "logs"]);
        url.query_pairs_mut()
            .append_pair("wait_ms", &wait.as_millis().to_string())
            .extend_pairs(after.map(|after| ("after", after)))
            .extend_pairs(topic.map(|topic| ("topic", topic.as_str())));
        let request = self.request_to(Method::GET, url);
        self.answer(request.timeout(ANSWER_DEADLINE + wait)).await
    }

    /// Uploads a component as the plugin's next version. The broker checks and compiles it.
    pub async fn push_plugin(
        &self,
        plugin: &PluginName,
        component: Bytes,
    ) -> Result<PluginVersion, AdminError> {
        let request = self
            .request(Method::POST, &["plugins", plugin.as_str(), "versions"])
            .header("content-type", "application/wasm")
            .timeout(COMPILE_DEADLINE)
            .body(component);
        self.answer(request).await
    }

    /// Deletes a version (a number, a digest or the beginning of one) that no chain has.
    pub async fn delete_plugin_version(
        &self,
        plugin: &PluginName,
        version: &str,
    ) -> Result<(), AdminError> {
        self.delete(&["plugins", plugin.as_str(), "versions", version]).await
    }

    /// A topic's plugins in the order they judge.
    pub async fn chain(&self, topic: &TopicName) -> Result<Chain, AdminError> {
        self.ask(Method::GET, &["topics", topic.as_str(), "chain"]).await
    }

    /// Binds a plugin to a topic, or changes its binding there.
    pub async fn bind(
        &self,
        topic: &TopicName,
        plugin: &PluginName,
        spec: &BindingSpec,
    ) -> Result<ChainChange, AdminError> {
        self.tell(Method::PUT, &["topics", topic.as_str(), "chain", plugin.as_str()], spec).await
    }

    /// Takes a plugin off a topic.
    pub async fn unbind(
        &self,
        topic: &TopicName,
        plugin: &PluginName,
    ) -> Result<ChainChange, AdminError> {
        self.ask(Method::DELETE, &["topics", topic.as_str(), "chain", plugin.as_str()]).await
    }

    /// Puts the binding back to what it was before its last change.
    pub async fn rollback(
        &self,
        topic: &TopicName,
        plugin: &PluginName,
    ) -> Result<ChainChange, AdminError> {
        self.change_binding(topic, plugin, "rollback").await
    }

    /// Lets events pass the binding by until it is resumed; it keeps its place, config and state.
    pub async fn pause(
        &self,
        topic: &TopicName,
        plugin: &PluginName,
    ) -> Result<ChainChange, AdminError> {
        self.change_binding(topic, plugin, "pause").await
    }

    /// Puts a paused binding back to work.
    pub async fn resume(
        &self,
        topic: &TopicName,
        plugin: &PluginName,
    ) -> Result<ChainChange, AdminError> {
        self.change_binding(topic, plugin, "resume").await
    }

    async fn change_binding(
        &self,
        topic: &TopicName,
        plugin: &PluginName,
        how: &str,
    ) -> Result<ChainChange, AdminError> {
        let path = ["topics", topic.as_str(), "chain", plugin.as_str(), how];
        self.answer(self.request(Method::POST, &path).timeout(COMPILE_DEADLINE)).await
    }

    /// All consumer groups, by name.
    pub async fn groups(&self) -> Result<Vec<GroupSummary>, AdminError> {
        self.ask(Method::GET, &["groups"]).await
    }

    /// A group's members, and how far it has come in each partition.
    pub async fn group(&self, group: &GroupName) -> Result<GroupDescription, AdminError> {
        self.ask(Method::GET, &["groups", group.as_str()]).await
    }

    /// Puts a group's committed offsets elsewhere, or shows where they would go.
    ///
    /// # Errors
    /// The code `group-active` while the group has members in the topic: stop them first.
    pub async fn reset_group(
        &self,
        group: &GroupName,
        spec: &ResetSpec,
    ) -> Result<GroupReset, AdminError> {
        let request = self.request(Method::POST, &["groups", group.as_str(), "reset"]).json(spec);
        self.answer(request).await
    }

    /// The broker's OpenAPI document.
    pub async fn openapi(&self) -> Result<serde_json::Value, AdminError> {
        self.answer(self.request_at(Method::GET, &["openapi.json"])).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
    ) -> Result<T, AdminError> {
        self.answer(self.request(method, path)).await
    }

    async fn tell<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, AdminError> {
        self.answer(self.request(method, path).timeout(COMPILE_DEADLINE).json(body)).await
    }

    async fn delete(&self, path: &[&str]) -> Result<(), AdminError> {
        self.whole_answer(self.request(Method::DELETE, path)).await.map(drop)
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.request_at(method, &[&["v1"], path].concat())
    }

    fn request_at(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.request_to(method, self.url(path))
    }

    /// Every part of the path is one segment, whatever characters a caller put into it.
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn request_to(&self, method: Method, url: Url) -> RequestBuilder {
        self.http
            .request(method, url)
            .bearer_auth(self.config.token.reveal())
            .timeout(ANSWER_DEADLINE)
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, AdminError> {
        let body = self.whole_answer(request).await?;
        serde_json::from_slice(&body).map_err(|error| self.not_weirs(error))
    }

    async fn whole_answer(&self, request: RequestBuilder) -> Result<Vec<u8>, AdminError> {
        let mut answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            if ANSWER_BYTES_MAX < body.len() + chunk.len() {
                return Err(self.not_weirs("it does not end"));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(AdminError::Refused { status: status.as_u16(), problem }),
            Err(_) => Err(self.not_weirs(format!("status {status} without a reason"))),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> AdminError {
        // The outer error names the URL; the innermost says what happened.
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        AdminError::Unreachable { admin: self.config.admin.clone(), reason: cause.to_string() }
    }

    fn not_weirs(&self, reason: impl ToString) -> AdminError {
        AdminError::Protocol { admin: self.config.admin.clone(), reason: reason.to_string() }
    }
}
