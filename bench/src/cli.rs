//! The command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::runtime::Runtime;

use crate::charts::{CHARTS, Chart};
use crate::load::{Setting, Size};
use crate::measure::{Machine, Versions};
use crate::peers::{self, Order, Way};
use crate::report::{self, Results};

/// Where a run's folder is written, and where its data is while it runs, from the repository's root.
const RESULTS: &str = "bench/results";
const SCRATCH: &str = "target/bench";

#[derive(Parser)]
#[command(
    name = "weir-bench",
    about = "How fast weir is, beside its peers and the limits of the machine",
    after_help = "Measure on a quiet machine, with a release build: `cargo xtask bench`. Client and \
                  servers run on the same machine, servers on ports of 127.0.0.1 that are free.\n\n\
                  Examples:\n  \
                  weir-bench run --short --only headline --no-peers\n  \
                  weir-bench compare bench/results/2026-11-24-before bench/results/2026-11-24-after",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, and writes a folder with results.json, a table and plots
    Run(Run),
    /// Two folders (or results.json files) beside each other: ratios, and which are beyond the noise
    Compare {
        /// Before
        a: PathBuf,
        /// After
        b: PathBuf,
    },
    /// What can be measured
    List,
    /// The service of the peer on NATS; started by a run, as a process of its own
    #[command(hide = true)]
    TodaysService {
        /// Of nats-server
        #[arg(long)]
        server: String,
        /// How it publishes
        #[arg(long)]
        way: Way,
        /// Events of a key a day
        #[arg(long)]
        limit: u64,
        /// The streams' names, without IN-, OUT- and REFUSED-
        streams: Vec<String>,
    },
}

#[derive(Args)]
struct Run {
    /// Once and briefly: for a look, not for figures to be shown
    #[arg(long)]
    short: bool,
    /// Which charts, by the names that `list` gives; all if none is given
    #[arg(long, value_name = "CHART", num_args = 1..)]
    only: Vec<String>,
    /// weir alone
    #[arg(long)]
    no_peers: bool,
    /// What the results' folder is called behind the date
    #[arg(long, default_value = "bench")]
    label: String,
    /// The results' folder; by default bench/results/DATE-LABEL
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where servers keep their data meanwhile: on the disk that is to be measured
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// The program weir; by default the one beside this program
    #[arg(long, value_name = "FILE")]
    weir: Option<PathBuf>,
}

/// Does what the command line says.
pub fn main() -> Result<(), String> {
    match Arguments::parse().command {
        Command::Run(run) => measure(&run),
        Command::Compare { a, b } => {
            println!("{}", report::compare(&Results::read(&a)?, &Results::read(&b)?));
            Ok(())
        }
        Command::TodaysService { server, way, limit, streams } => {
            runtime()?.block_on(peers::serve(Order { server, streams, way, limit }))
        }
        Command::List => {
            for chart in CHARTS {
                println!("{:<12} {}", chart.name, chart.about);
            }
            Ok(())
        }
    }
}

fn measure(run: &Run) -> Result<(), String> {
    let charts = wanted(&run.only)?;
    let root = root();
    let scratch = run.scratch.clone().unwrap_or_else(|| root.join(SCRATCH));
    fs::create_dir_all(&scratch)
        .map_err(|error| format!("no folder {}: {error}", scratch.display()))?;
    let setting = Setting {
        weir: program(run.weir.as_deref())?,
        root: root.clone(),
        scratch,
        size: if run.short { Size::Short } else { Size::Full },
        with_peers: !run.no_peers,
    };
    let seconds: u32 = charts.iter().map(|chart| chart.seconds(setting.size)).sum();
    eprintln!(
        "{} charts, about {} min {} s{}",
        charts.len(),
        seconds / 60,
        seconds % 60,
        if run.no_peers { "" } else { ", and the peers" }
    );
    let machine = Machine::look(&setting.scratch)?;
    if machine.filesystem.starts_with("tmpfs") {
        eprintln!(
            "The data is in memory, where a sync is free: give --scratch a folder on a disk."
        );
    }
    let runtime = runtime()?;
    // What one chart could not measure takes the others' figures from nobody.
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for (number, chart) in (1..).zip(&charts) {
        eprintln!("[{number}/{}] {}", charts.len(), chart.name);
        let began = Instant::now();
        match runtime.block_on((chart.rows)(&setting)) {
            Ok(measured) => rows.extend(measured),
            Err(why) => {
                eprintln!("  FAILED: {why}");
                failed.push(format!("{}: {why}", chart.name));
            }
        }
        eprintln!("  took {:.0} s", began.elapsed().as_secs_f64());
    }
    let date = OffsetDateTime::now_utc()
        .format(format_description!("[year]-[month]-[day]"))
        .map_err(|error| error.to_string())?;
    let folder =
        run.out.clone().unwrap_or_else(|| root.join(RESULTS).join(format!("{date}-{}", run.label)));
    let size = if run.short { "short" } else { "full" }.to_owned();
    let results =
        Results { date, size, machine, versions: Versions::look(peers::nats_version(&root)), rows };
    let headings: Vec<_> = charts.iter().map(|chart| chart.heading()).collect();
    for file in report::write(&folder, &results, &headings)? {
        println!("{}", file.display());
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("not measured: {}", failed.join("; "))) }
}

fn runtime() -> Result<Runtime, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| format!("no runtime: {error}"))
}

fn wanted(only: &[String]) -> Result<Vec<&'static Chart>, String> {
    if let Some(unknown) = only.iter().find(|name| CHARTS.iter().all(|chart| chart.name != **name))
    {
        let known: Vec<&str> = CHARTS.iter().map(|chart| chart.name).collect();
        return Err(format!("there is no chart {unknown}; there are {}", known.join(", ")));
    }
    let is_wanted = |chart: &&&Chart| only.is_empty() || only.iter().any(|name| name == chart.name);
    Ok(CHARTS.iter().filter(is_wanted).copied().collect())
}

/// The repository: this program measures the one that it was built in.
fn root() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("bench is a folder of the repository").to_owned()
}

fn program(named: Option<&Path>) -> Result<PathBuf, String> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("weir"));
    let program = named.map(Path::to_owned).or_else(beside);
    program.filter(|program| program.is_file()).ok_or_else(|| {
        "the program weir is missing: run `cargo build --release --workspace --bins`, or name it with \
         --weir"
            .to_owned()
    })
}
