//! A sink as a program: settings, signals, the report and the exit code.
//!
//! Exit codes: 0, all that was begun is done; 1, it could not begin or go on, or an event was lost;
//! 2, the command line is wrong.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;
use weir_client::{Client, ClientConfig, default_context};
use weir_wire::ids::{GroupName, TopicName};

use crate::config_file::with_file;
use crate::deliver::Deliver;
use crate::sink::{Report, Sink, SinkError, SinkOptions, Undeliverable};

/// The settings that all sinks have.
#[derive(Debug, Clone, Args)]
pub struct SinkArguments {
    /// A TOML file with settings: its keys are the names of these flags, as topic = "notices". What
    /// stands on the command line wins
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The broker's context file; else $WEIR_CONTEXT, else ./weir-data/client.toml
    #[arg(long, value_name = "FILE")]
    context: Option<PathBuf>,
    /// The topic of the events
    #[arg(long)]
    topic: TopicName,
    /// Whose committed offsets tell which events are done; the program's name without "weir-" if it
    /// is not given. Several processes of one group share the partitions
    #[arg(long)]
    group: Option<GroupName>,
    /// The topic in which events are kept that cannot be delivered, with headers that say why and
    /// where from; it has to exist
    #[arg(long, value_name = "TOPIC", required_unless_present = "discard")]
    dead_letter: Option<TopicName>,
    /// Pass over events that cannot be delivered: they are logged and counted, and kept nowhere else
    #[arg(long, conflicts_with = "dead_letter")]
    discard: bool,
    /// How many events are delivered at once; of one partition it is never more than one
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    at_once: u16,
    /// For how many seconds one event is tried while the server answers "not now". A server that is
    /// not there at all is waited for without an end
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
    patience_s: u32,
    /// End where the topic ends now, instead of following it
    #[arg(long)]
    until_end: bool,
    /// Print what was done as one line of JSON
    #[arg(long)]
    json: bool,
}

impl SinkArguments {
    fn options(&self, group: GroupName) -> SinkOptions {
        let undeliverable =
            self.dead_letter.clone().map_or(Undeliverable::Discard, Undeliverable::To);
        SinkOptions {
            topic: self.topic.clone(),
            group: self.group.clone().unwrap_or(group),
            at_once: self.at_once.into(),
            patience: Duration::from_secs(self.patience_s.into()),
            undeliverable,
            until_end: self.until_end,
        }
    }
}

/// Runs a sink until SIGTERM or SIGINT; `group` is its group if no other is named, and `open` makes
/// what delivers.
pub async fn main<A, D>(
    group: &'static str,
    open: impl FnOnce(&A) -> Result<D, SinkError>,
) -> ExitCode
where
    A: Parser + CommandFactory + AsRef<SinkArguments>,
    D: Deliver,
{
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = match with_file(&A::command(), std::env::args_os().collect()) {
        Ok(words) => A::parse_from(words),
        Err(crate::config_file::WithFileError::Words(error)) => error.exit(),
        Err(error) => {
            error!("{error}");
            return ExitCode::from(2);
        }
    };
    let shared = arguments.as_ref();
    let mut report = Report::default();
    let result = run(group, &arguments, open, &mut report).await;
    tell(&report, shared.json);
    match result {
        Ok(()) if report.lost == 0 => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run<A, D>(
    group: &'static str,
    arguments: &A,
    open: impl FnOnce(&A) -> Result<D, SinkError>,
    report: &mut Report,
) -> Result<(), SinkError>
where
    A: AsRef<SinkArguments>,
    D: Deliver,
{
    let shared = arguments.as_ref();
    let group = GroupName::parse(group).map_err(|error| SinkError::Options(error.to_string()))?;
    let sink = Sink::new(open(arguments)?, shared.options(group));
    let context = shared.context.clone().unwrap_or_else(default_context);
    let stop = stop_signal()?;
    let client = Client::connect(ClientConfig::from_context(context)?).await?;
    let result = sink.run(&client, stop).await;
    client.close().await;
    *report = sink.report();
    result
}

/// Says on stdout what was done; a closed stdout is nobody who wants to know.
fn tell(report: &Report, is_json: bool) {
    let line = match is_json {
        true => serde_json::to_string(report).unwrap_or_default(),
        false => report.to_string(),
    };
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Resolves when the process is asked to stop, by a person or by its supervisor. From here on a
/// signal ends nothing by force.
fn stop_signal() -> Result<impl Future<Output = ()>, SinkError> {
    use tokio::signal::unix::{SignalKind, signal};
    let cannot = |error| SinkError::Options(format!("this system gives no signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping: what is under way is finished first");
    })
}
