//! Settings from a TOML file: each key is the name of a flag, so there is one list of settings, one
//! check and one description of them. What stands on the command line wins.
//!
//! ```text
//! topic = "notices"            is   --topic=notices
//! template = ["a.txt", "b.txt"]     --template=a.txt --template=b.txt
//! json = true                       --json
//! ```

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// The flag that names the file.
pub(crate) const CONFIG: &str = "config";
/// Bytes of a file of settings at most.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a file of settings is none. The sentence names it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the settings in {}: {why}", path.display())]
pub(crate) struct InvalidFile {
    path: PathBuf,
    why: String,
}

/// The command line `words` with the settings of the file that it names, if it names one.
pub(crate) fn with_file(
    command: &Command,
    words: Vec<OsString>,
) -> Result<Vec<OsString>, WithFileError> {
    // What is required may be in the file.
    let given = command.clone().ignore_errors(true).try_get_matches_from(&words)?;
    let Some(path) = given.get_one::<PathBuf>(CONFIG) else { return Ok(words) };
    let settings = read(path, command, &given)?;
    let mut words = words.into_iter();
    Ok(words.next().into_iter().chain(settings).chain(words).collect())
}

/// Why a command line cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WithFileError {
    /// `--help` and `--version` are of this kind.
    #[error(transparent)]
    Words(#[from] clap::Error),
    #[error(transparent)]
    File(#[from] InvalidFile),
}

fn read(path: &Path, command: &Command, given: &ArgMatches) -> Result<Vec<OsString>, InvalidFile> {
    let wrong =
        |why: &dyn fmt::Display| InvalidFile { path: path.to_owned(), why: why.to_string() };
    let bytes = std::fs::metadata(path).map_err(|error| wrong(&error))?.len();
    if FILE_BYTES_MAX < bytes {
        return Err(wrong(&format!("its {bytes} bytes are too many")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| wrong(&error.message()))?;
    let mut words = Vec::new();
    for (key, value) in &table {
        let flag = command.get_arguments().find(|flag| flag.get_long() == Some(key));
        let flag = flag.filter(|_| ![CONFIG, "help", "version"].contains(&key.as_str()));
        let flag = flag.ok_or_else(|| {
            wrong(&format!("there is no setting {key:?}; each is the name of a flag, see --help"))
        })?;
        let is_given = given.value_source(flag.get_id().as_str()) == Some(ValueSource::CommandLine);
        if !is_given {
            let settings = flags(key, value).ok_or_else(|| {
                wrong(&format!(
                    "{key} has to be a text, a number, true or false, or a list of texts"
                ))
            })?;
            words.extend(settings.into_iter().map(OsString::from));
        }
    }
    Ok(words)
}

fn flags(key: &str, value: &toml::Value) -> Option<Vec<String>> {
    use toml::Value;
    match value {
        Value::String(text) => Some(vec![format!("--{key}={text}")]),
        Value::Integer(number) => Some(vec![format!("--{key}={number}")]),
        Value::Boolean(true) => Some(vec![format!("--{key}")]),
        Value::Boolean(false) => Some(Vec::new()),
        Value::Array(values) => {
            let texts = values.iter().map(|value| value.as_str());
            texts.map(|text| Some(format!("--{key}={}", text?))).collect()
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction};

    fn check(file: &str, words: &[&str], expected: Result<&str, &str>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sink.toml");
        std::fs::write(&path, file).unwrap();
        let command = Command::new("sink")
            .arg(Arg::new("config").long("config").value_parser(clap::value_parser!(PathBuf)))
            .arg(Arg::new("topic").long("topic").required(true))
            .arg(Arg::new("template").long("template").action(ArgAction::Append))
            .arg(Arg::new("json").long("json").action(ArgAction::SetTrue));
        let path = path.to_str().unwrap().to_owned();
        let words = ["sink", "--config", &path].iter().chain(words).map(OsString::from).collect();
        let told = match with_file(&command, words) {
            Ok(words) => words
                .iter()
                .map(|word| word.to_string_lossy().replace(&path, "FILE"))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string().replace(&path, "FILE"),
        };
        match expected {
            Ok(words) => assert_eq!(told, words),
            Err(says) => assert!(told.contains(says), "{told}"),
        }
    }

    #[test]
    fn a_files_keys_are_flags_and_the_command_line_wins() {
        check("topic = \"a b\"\njson = true", &[], Ok("sink --json --topic=a b --config FILE"));
        check("json = false", &["--topic", "x"], Ok("sink --config FILE --topic x"));
        let two = "template = [\"a\", \"b\"]";
        check(two, &[], Ok("sink --template=a --template=b --config FILE"));
        check(two, &["--template", "c"], Ok("sink --config FILE --template c"));
    }

    #[test]
    fn a_wrong_file_is_one_clear_sentence() {
        check("topik = \"a\"", &[], Err("the settings in FILE: there is no setting \"topik\""));
        check("config = \"a\"", &[], Err("there is no setting \"config\""));
        check("topic = 1.5", &[], Err("topic has to be a text"));
        check("template = [1]", &[], Err("template has to be a text"));
        check("topic", &[], Err("the settings in FILE: "));
    }
}
