//! The command line: `weir COMMAND …`. Parses the arguments, hands them to the command, and turns
//! its end into an exit code: 0 only when all was done.
//!
//! Promises: what goes wrong is one sentence on stderr that says what to do; arguments are parsed
//! into their types before anything else happens. A command is a client like any other: it speaks
//! to the broker through `weir-client`, which is named here and in the demo only.
//! Not here: what a broker is (`serve` hands over to the library).

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use weir_client::{AdminError, ClientError};

use self::output::Output;

mod serve;
mod topic;
mod publish;
mod consume;
mod group;
mod dead_letter;
mod status;
mod clock;
mod check;
mod dump;
mod plugin;
mod bench;
mod describe;
mod logs;
mod chain;
mod wrap;
mod template;
mod compile;
mod context;
mod tally;
mod start;
mod input;
mod progress;
mod limits;
mod version;
mod component_file;
mod event_json;
mod output;

/// Exit code for arguments that are none, as shells expect it.
const EXIT_USAGE: u8 = 2;

/// The event broker whose admission rules are WebAssembly components.
///
/// Every event is judged by the topic's plugins before it is stored, and its publisher hears the
/// verdict: accepted, dropped, or rejected with a reason.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    arg_required_else_help = true,
    after_help = "\
A first tour (or let `weir demo` walk it for you):
  weir serve                                    in one terminal; in another:
  weir topic create flights --partitions 4
  weir topic create notices
  weir plugin push daily-limit daily-limit.wasm
  weir plugin bind flights daily-limit --emit notices \\
       --config '{\"limit\":2,\"key\":\"event\",\"time\":\"event\",\"notice\":\"notices\"}'
  weir publish flights --input flights.jsonl --key /tailnum --timestamp /time
  weir consume notices --until-end

`weir COMMAND --help` has an example for each."
)]
struct Arguments {
    /// Print answers as JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
    /// How to reach the broker: the client.toml that `weir serve` wrote into its data directory
    /// [default: $WEIR_CONTEXT, else ./weir-data/client.toml].
    #[arg(long, global = true, value_name = "FILE")]
    context: Option<PathBuf>,
    /// Tell on stderr what happens inside.
    #[arg(short, long, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    /// Create, list, describe and delete topics.
    #[command(subcommand, arg_required_else_help = true)]
    Topic(topic::Topic),
    Publish(publish::Publish),
    Consume(consume::Consume),
    /// Show consumer groups, their members and their lag, and put them elsewhere.
    #[command(subcommand, arg_required_else_help = true)]
    Group(group::Group),
    /// Look at the events that plugins refused, and send them again.
    #[command(subcommand, arg_required_else_help = true)]
    DeadLetter(dead_letter::DeadLetter),
    /// Upload plugins, and bind them to topics.
    #[command(subcommand, arg_required_else_help = true)]
    Plugin(plugin::Plugin),
    Status(status::StatusArguments),
    Clock(clock::ClockArguments),
    Check(check::Check),
    Dump(dump::Dump),
    Demo(DemoArguments),
    /// Compile a component; the broker runs this in a child process.
    #[command(hide = true)]
    Compile(compile::Compile),
}

/// Show the whole story on real flights: a broker, a rule, refusals, a mail, a hot swap.
///
/// Runs in a temporary folder on loopback, leaves nothing behind, and exits with 0 only if every
/// figure it counted agrees with the others.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  weir demo")]
struct DemoArguments {}

/// Why a command did not do all that it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// One sentence for people: what is wrong and what to do.
    Sentence(String),
    /// Whoever read our output went away (`weir consume … | head`): no reason to complain.
    ReaderGone,
}

impl Failure {
    /// A failure with its sentence, on one line whatever another program contributed to it.
    pub fn new(sentence: impl AsRef<str>) -> Self {
        let words: Vec<&str> = sentence.as_ref().split_whitespace().collect();
        Self::Sentence(words.join(" "))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sentence(sentence) => f.write_str(sentence),
            Self::ReaderGone => f.write_str("the reader of the output is gone"),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        Self::new(error.to_string())
    }
}

/// The whole program: parses the process's arguments, runs the command, says how it went.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    start_log(&arguments);
    match run(arguments) {
        Ok(()) | Err(Failure::ReaderGone) => ExitCode::SUCCESS,
        Err(Failure::Sentence(sentence)) => {
            complain(&sentence);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { json, context, verbose: _, command } = arguments;
    let output = Output { json };
    let context = context.as_deref();
    // The child that compiles runs under tight limits: no runtime for it.
    if let Command::Compile(compile) = command {
        return compile.run();
    }
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::new(format!("cannot start threads: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Serve(serve) => serve.run().await,
            Command::Topic(topic) => topic.run(context, output).await,
            Command::Publish(publish) => publish.run(context, output).await,
            Command::Consume(consume) => consume.run(context).await,
            Command::Group(group) => group.run(context, output).await,
            Command::DeadLetter(letters) => letters.run(context, output).await,
            Command::Plugin(plugin) => plugin.run(context, output).await,
            Command::Status(status) => status.run(context, output).await,
            Command::Clock(clock) => clock.run(context, output).await,
            Command::Demo(DemoArguments {}) => demo(output).await,
            Command::Check(check) => check.run(output),
            Command::Dump(dump) => dump.run(output),
            Command::Compile(compile) => compile.run(),
        }
    })
}

async fn demo(output: Output) -> Result<(), Failure> {
    crate::demo::run(output.json).await.map_err(|error| Failure::new(error.to_string()))
}

/// A broker tells its operator what happens; other commands only when asked.
fn start_log(arguments: &Arguments) {
    let level = match (&arguments.command, arguments.verbose) {
        (_, true) => "debug",
        (Command::Serve(_), false) => "info",
        _ => return,
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let has_colour = io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(has_colour)
        .with_writer(io::stderr)
        .init();
}

/// Help is an answer; anything else is one sentence instead of clap's page.
fn explain(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(EXIT_USAGE)
        }
        _ => {
            let command = command_asked_for(std::env::args().skip(1));
            complain(&usage_sentence(&error.to_string(), &command));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// The sentence at the top of clap's page for an error, and whose help to ask for.
fn usage_sentence(page: &str, command: &str) -> String {
    let sentence = page.split("Usage: ").next().unwrap_or(page);
    let sentence = sentence.split("For more information").next().unwrap_or(sentence);
    let words: Vec<&str> = sentence.trim_start_matches("error: ").split_whitespace().collect();
    let sentence = words.join(" ").replace(" tip: ", "; ");
    format!("{}; see `{command} --help`", sentence.trim_end_matches(['.', ':', '?']))
}

/// The longest command that these arguments name, such as `weir topic create`.
fn command_asked_for(arguments: impl Iterator<Item = String>) -> String {
    let (mut command, mut path) = (Arguments::command(), "weir".to_owned());
    for argument in arguments {
        if let Some(inner) = command.find_subcommand(&argument).cloned() {
            path = format!("{path} {argument}");
            command = inner;
        }
    }
    path
}

/// A word on stderr that is no failure.
fn remark(sentence: &str) {
    complain(sentence);
}

fn complain(sentence: &str) {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "weir: {sentence}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check_usage(arguments: &str, expected: Expect) {
        let error = Arguments::try_parse_from(arguments.split(' ')).unwrap_err();
        let command = command_asked_for(arguments.split(' ').skip(1).map(str::to_owned));
        expected.assert_eq(&usage_sentence(&error.to_string(), &command));
    }

    #[test]
    fn the_commands_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn wrong_arguments_are_one_sentence() {
        check_usage(
            "weir pubilsh",
            expect![
                "unrecognized subcommand 'pubilsh'; a similar subcommand exists: 'publish'; see `weir --help`"
            ],
        );
        check_usage(
            "weir publish",
            expect![
                "the following required arguments were not provided: --input <FILE|-> <TOPIC>; see `weir publish --help`"
            ],
        );
        check_usage(
            "weir publish flights --inptu x",
            expect![
                "unexpected argument '--inptu' found; a similar argument exists: '--input'; see `weir publish --help`"
            ],
        );
        check_usage(
            "weir publish fl/ghts --input x",
            expect![[
                r#"invalid value 'fl/ghts' for '<TOPIC>': topic name "fl/ghts" is not valid: use 1 to 249 of a-z A-Z 0-9 . _ - and neither "." nor ".."; see `weir publish --help`"#
            ]],
        );
        check_usage(
            "weir publish flights --input x --key tailnum",
            expect![
                "invalid value 'tailnum' for '--key </JSON/POINTER>': a JSON pointer begins with a slash; did you mean /tailnum; see `weir publish --help`"
            ],
        );
        check_usage(
            "weir publish flights --input x --mode some",
            expect![
                "invalid value 'some' for '--mode <MODE>' [possible values: per-event, all-or-nothing]; see `weir publish --help`"
            ],
        );
        check_usage(
            "weir consume flights --from yesterday",
            expect![
                "invalid value 'yesterday' for '--from <earliest|latest|OFFSET|RFC3339>': give earliest, latest, an offset or an RFC 3339 time such as 2013-06-01T00:00:00Z; see `weir consume --help`"
            ],
        );
        check_usage(
            "weir topic create flights --partitions many",
            expect![
                "invalid value 'many' for '--partitions <N>': invalid digit found in string; see `weir topic create --help`"
            ],
        );
        check_usage(
            "weir plugin bind flights daily-limit --limit power=1",
            expect![[
                r#"invalid value 'power=1' for '--limit <KEY=VALUE>': there is no limit "power"; the limits are fuel, deadline_ms, configure_ms, memory_bytes, side_events, side_event_bytes, log_bytes, state_changes, state_keys, state_bytes; see `weir plugin bind --help`"#
            ]],
        );
        check_usage(
            "weir plugin delete daily-limit",
            expect![
                "invalid value 'daily-limit' for '<NAME@VERSION>': name the version too, as in daily-limit@1; see `weir plugin delete --help`"
            ],
        );
    }

    #[test]
    fn a_failure_is_one_line() {
        assert_eq!(Failure::new("a\n  b\tc ").to_string(), "a b c");
    }

    #[test]
    fn help_teaches() {
        expect![[r#"
            The event broker whose admission rules are WebAssembly components

            Usage: weir [OPTIONS] <COMMAND>

            Commands:
              serve        Run a broker in this terminal until Ctrl-C
              topic        Create, list, describe and delete topics
              publish      Publish the lines of a file, and count what became of each
              consume      Print the events of a topic, one line of JSON each
              group        Show consumer groups, their members and their lag, and put them elsewhere
              dead-letter  Look at the events that plugins refused, and send them again
              plugin       Upload plugins, and bind them to topics
              status       Show the broker at a glance, and what an operator has to act on
              clock        Show the broker's clock beside the machine's, or confirm the machine's
              check        Verify a data directory while no broker runs in it; changes nothing
              dump         Print the commits of a log while no broker runs; changes nothing
              demo         Show the whole story on real flights: a broker, a rule, refusals, a mail, a hot swap
              help         Print this message or the help of the given subcommand(s)

            Options:
                  --json            Print answers as JSON, for programs
                  --context <FILE>  How to reach the broker: the client.toml that `weir serve` wrote into its data directory [default: $WEIR_CONTEXT, else ./weir-data/client.toml]
              -v, --verbose         Tell on stderr what happens inside
              -h, --help            Print help (see more with '--help')
              -V, --version         Print version

            A first tour (or let `weir demo` walk it for you):
              weir serve                                    in one terminal; in another:
              weir topic create flights --partitions 4
              weir topic create notices
              weir plugin push daily-limit daily-limit.wasm
              weir plugin bind flights daily-limit --emit notices \
                   --config '{"limit":2,"key":"event","time":"event","notice":"notices"}'
              weir publish flights --input flights.jsonl --key /tailnum --timestamp /time
              weir consume notices --until-end

            `weir COMMAND --help` has an example for each.
        "#]].assert_eq(&Arguments::command().render_help().to_string());
    }

    #[test]
    fn every_command_has_an_example() {
        fn visit(command: &clap::Command) {
            if command.is_hide_set() {
                return;
            }
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} says nothing about itself");
            let has_children = command.get_subcommands().next().is_some();
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(has_children || examples.contains("weir "), "{name} has no example");
            command.get_subcommands().for_each(visit);
        }
        visit(&Arguments::command());
    }
}
