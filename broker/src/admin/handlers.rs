//! One function per route: names and body in, the counter's answer out.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use weir_wire::admin::{
    BindingSpec, Chain, ClockStatus, GroupDescription, GroupSummary, PluginDescription, PluginLog,
    PluginReport, ResetSpec, Status, TopicDescription, TopicSettings, TopicSpec,
};
use weir_wire::ids::{GroupName, PluginName, TopicName};

use super::body::{ComponentBody, JsonBody, Names};
use super::problem::Refusal;
use crate::control::{Control, ControlError};
use crate::plugin_logs::NoCursor;
use crate::wall_clock::WallClock;

type Counter = State<Arc<Control>>;
type Machine = Extension<Arc<WallClock>>;
type Answer<T> = Result<Json<T>, Refusal>;

const OPENAPI: &str = include_str!("../../openapi.json");

pub async fn status(State(control): Counter, Extension(clock): Machine) -> Json<Status> {
    Json(Status { clock_alarm: clock.status().alarm, ..control.status().await })
}

pub async fn clock(Extension(clock): Machine) -> Json<ClockStatus> {
    Json(clock.status())
}

pub async fn accept_clock(Extension(clock): Machine) -> Json<ClockStatus> {
    Json(clock.accept())
}

pub async fn topics(State(control): Counter) -> Json<Vec<TopicDescription>> {
    Json(control.topics().await)
}

pub async fn topic(
    State(control): Counter,
    Names(topic): Names<TopicName>,
) -> Answer<TopicDescription> {
    Ok(Json(control.topic(&topic).await?))
}

pub async fn create_topic(
    State(control): Counter,
    JsonBody(spec): JsonBody<TopicSpec>,
) -> Result<Response, Refusal> {
    change(StatusCode::CREATED, async move { control.create_topic(spec).await }).await
}

pub async fn change_topic(
    State(control): Counter,
    Names(topic): Names<TopicName>,
    JsonBody(settings): JsonBody<TopicSettings>,
) -> Result<Response, Refusal> {
    change(StatusCode::OK, async move { control.change_topic(&topic, settings).await }).await
}

pub async fn clean_topic(
    State(control): Counter,
    Names(topic): Names<TopicName>,
) -> Result<Response, Refusal> {
    change(StatusCode::OK, async move { control.clean_topic(&topic).await }).await
}

pub async fn delete_topic(
    State(control): Counter,
    Names(topic): Names<TopicName>,
) -> Result<StatusCode, Refusal> {
    finish(async move { control.delete_topic(&topic).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn plugins(State(control): Counter) -> Json<Vec<PluginDescription>> {
    Json(control.plugins().await)
}

pub async fn plugin(
    State(control): Counter,
    Names(plugin): Names<PluginName>,
) -> Answer<PluginReport> {
    Ok(Json(control.plugin(&plugin).await?))
}

/// Where in a plugin's log, which part of it, and how long to wait for a line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPlace {
    after: Option<String>,
    topic: Option<TopicName>,
    wait_ms: Option<u64>,
}

pub async fn plugin_log(
    State(control): Counter,
    Names(plugin): Names<PluginName>,
    place: Result<Query<LogPlace>, QueryRejection>,
) -> Answer<PluginLog> {
    let Query(place) = place.map_err(|error| Refusal::invalid_request(error.body_text()))?;
    let after = place.after.map(|after| after.parse()).transpose();
    let after = after.map_err(|error: NoCursor| Refusal::invalid_request(error.to_string()))?;
    let wait = Duration::from_millis(place.wait_ms.unwrap_or(0));
    Ok(Json(control.plugin_log(&plugin, after, place.topic.as_ref(), wait).await?))
}

pub async fn push_plugin(
    State(control): Counter,
    Names(plugin): Names<PluginName>,
    ComponentBody(component): ComponentBody,
) -> Result<Response, Refusal> {
    change(StatusCode::CREATED, async move { control.push_plugin(plugin, component).await }).await
}

pub async fn delete_version(
    State(control): Counter,
    Names((plugin, version)): Names<(PluginName, String)>,
) -> Result<StatusCode, Refusal> {
    finish(async move { control.delete_plugin_version(&plugin, &version).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn chain(State(control): Counter, Names(topic): Names<TopicName>) -> Answer<Chain> {
    Ok(Json(control.chain(&topic).await?))
}

pub async fn bind(
    State(control): Counter,
    Names((topic, plugin)): Names<(TopicName, PluginName)>,
    JsonBody(spec): JsonBody<BindingSpec>,
) -> Result<Response, Refusal> {
    change(StatusCode::OK, async move { control.bind(&topic, plugin, spec).await }).await
}

pub async fn unbind(
    State(control): Counter,
    Names((topic, plugin)): Names<(TopicName, PluginName)>,
) -> Result<Response, Refusal> {
    change(StatusCode::OK, async move { control.unbind(&topic, &plugin).await }).await
}

pub async fn rollback(
    State(control): Counter,
    Names((topic, plugin)): Names<(TopicName, PluginName)>,
) -> Result<Response, Refusal> {
    change(StatusCode::OK, async move { control.rollback(&topic, &plugin).await }).await
}

pub async fn pause(
    State(control): Counter,
    Names((topic, plugin)): Names<(TopicName, PluginName)>,
) -> Result<Response, Refusal> {
    change(StatusCode::OK, async move { control.pause(&topic, &plugin).await }).await
}

pub async fn resume(
    State(control): Counter,
    Names((topic, plugin)): Names<(TopicName, PluginName)>,
) -> Result<Response, Refusal> {
    change(StatusCode::OK, async move { control.resume(&topic, &plugin).await }).await
}

pub async fn groups(State(control): Counter) -> Json<Vec<GroupSummary>> {
    Json(control.groups().await)
}

pub async fn group(
    State(control): Counter,
    Names(group): Names<GroupName>,
) -> Answer<GroupDescription> {
    Ok(Json(control.group(&group).await?))
}

pub async fn reset_group(
    State(control): Counter,
    Names(group): Names<GroupName>,
    JsonBody(spec): JsonBody<ResetSpec>,
) -> Result<Response, Refusal> {
    change(StatusCode::OK, async move { control.reset_group(&group, spec).await }).await
}

pub async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn change<T: Serialize + Send + 'static>(
    status: StatusCode,
    work: impl Future<Output = Result<T, ControlError>> + Send + 'static,
) -> Result<Response, Refusal> {
    let done = finish(work).await?;
    Ok((status, Json(done)).into_response())
}

/// Does a change in a task of its own: this one ends when its operator hangs up, and a change that
/// ends half way would be recorded and not made.
async fn finish<T: Send + 'static>(
    work: impl Future<Output = Result<T, ControlError>> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::spawn(work).await {
        Ok(done) => done.map_err(Refusal::from),
        Err(_) => Err(Refusal::broke_down()),
    }
}
