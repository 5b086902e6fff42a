//! `weir plugin new`: a small complete project of a rule, in the language of one's choice.
//!
//! The files lie in plugins/templates, are built and tried with daily-limit (`cargo xtask
//! languages`), and travel in this program, so that a newcomer needs nothing but it and the
//! language's own tools. Promises: nothing is overwritten, and a folder is there whole or not at all.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;
use weir_wire::ids::PluginName;

use super::Failure;
use super::output::Output;

/// The contract that every template is built against.
pub const CONTRACT: &str = include_str!("../../../wit/plugin.wit");

/// What the files say where the plugin's name belongs.
const NAME_MARK: &str = "PLUGIN_NAME";

/// And where its language does.
const LANGUAGE_MARK: &str = "LANGUAGE";

/// A config under which the templates' rule works.
const SAMPLE_CONFIG: u32 = 3;

/// Make a new plugin: a small project that builds, in the language of your choice.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  weir plugin new night-ban --lang python

The project refuses something from the first build on. Its guide is docs/plugins of weir's source.")]
pub struct New {
    /// The plugin: 1 to 64 of a-z 0-9 -, beginning with a letter.
    name: PluginName,
    /// The language to write it in.
    #[arg(long, value_enum)]
    lang: Language,
    /// Where to put it; must not exist yet [default: ./NAME].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// A language that there is a template for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust.
    Rust,
    /// C.
    C,
    /// JavaScript.
    Js,
    /// TypeScript.
    Ts,
    /// Python.
    Python,
    /// Go.
    Go,
}

/// A file of a template: where it goes, what is in it.
type File = (&'static str, &'static str);

/// Scripts to be run.
const SCRIPT: &str = ".sh";

macro_rules! files {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../plugins/templates/", $folder, "/", $path)))),*]
    };
}

impl Language {
    /// As people write it.
    fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::C => "C",
            Self::Js => "JavaScript",
            Self::Ts => "TypeScript",
            Self::Python => "Python",
            Self::Go => "Go",
        }
    }

    /// The file that is the rule itself.
    fn rule(self) -> &'static str {
        match self {
            Self::Rust => "src/lib.rs",
            Self::C => "src/rule.c",
            Self::Js => "src/rule.js",
            Self::Ts => "src/rule.ts",
            Self::Python => "src/rule.py",
            Self::Go => "rule/rule.go",
        }
    }

    /// What only this language has.
    fn files(self) -> &'static [File] {
        match self {
            Self::Rust => files!["rust": "Cargo.toml", "build.sh", "src/lib.rs"],
            Self::C => files!["c": "build.sh", "src/rule.c", "gen/filter.c", "gen/filter.h"],
            Self::Js => files!["js": "build.sh", "package.json", "src/rule.js"],
            Self::Ts => {
                files!["ts": "build.sh", "package.json", "tsconfig.json", "src/rule.ts", "src/weir.d.ts"]
            }
            Self::Python => files!["python": "build.sh", "requirements.txt", "src/rule.py"],
            Self::Go => files!["go":
                "build.sh", "go.mod", "rule/rule.go", "gen/main/main.go",
                "gen/weir_plugin_context/empty.s", "gen/weir_plugin_context/wit_bindings.go",
                "gen/weir_plugin_log/empty.s", "gen/weir_plugin_log/wit_bindings.go",
                "gen/weir_plugin_outbox/empty.s", "gen/weir_plugin_outbox/wit_bindings.go",
                "gen/weir_plugin_state/empty.s", "gen/weir_plugin_state/wit_bindings.go",
                "gen/weir_plugin_types/empty.s", "gen/weir_plugin_types/wit_bindings.go",
                "gen/wit_runtime/runtime.go", "gen/wit_types/types.go",
            ],
        }
    }

    /// What all of them have.
    fn common() -> [File; 4] {
        let [readme, events, ignored] =
            *files!["../templates": "README.md", "events.jsonl", "gitignore"];
        [readme, events, (".gitignore", ignored.1), ("wit/plugin.wit", CONTRACT)]
    }
}

impl New {
    /// Does it.
    pub fn run(self, output: Output) -> Result<(), Failure> {
        let Self { name, lang, dir } = self;
        let dir = dir.unwrap_or_else(|| PathBuf::from(name.as_str()));
        write_project(&name, lang, &dir)?;
        let made = json!({ "name": name, "lang": lang.title(), "dir": dir.display().to_string() });
        output.answer(&made, |_| next_steps(&name, lang, &dir))
    }
}

fn next_steps(name: &PluginName, lang: Language, dir: &Path) -> String {
    let mut text = String::new();
    let _ = write!(
        text,
        "{dir} is a rule in {title} that refuses what is too much; it is {rule}. Next:\n  \
         cd {dir} && ./build.sh\n  \
         weir plugin test {name}.wasm --input events.jsonl --key /user --config {SAMPLE_CONFIG}\n  \
         weir plugin push {name} {name}.wasm\n",
        dir = dir.display(),
        title = lang.title(),
        rule = lang.rule(),
    );
    text
}

/// Made beside its place and moved there, so that it is never half there.
fn write_project(name: &PluginName, lang: Language, dir: &Path) -> Result<(), Failure> {
    if fs::symlink_metadata(dir).is_ok() {
        return Err(Failure::new(format!(
            "{} is there already and nothing is overwritten; choose another folder with --dir",
            dir.display()
        )));
    }
    let unwritable = |error: std::io::Error| {
        let dir = dir.display();
        Failure::new(format!("cannot make {dir}: {error}; choose another folder with --dir"))
    };
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(unwritable)?;
    let draft = tempfile::Builder::new().prefix(".weir-new-").tempdir_in(parent);
    let draft = draft.map_err(unwritable)?;
    // A folder of its own inside: the temporary one is for its maker's eyes only.
    let project = draft.path().join("project");
    for (path, content) in lang.files().iter().chain(&Language::common()) {
        let file = project.join(path);
        let content = content.replace(NAME_MARK, name.as_str());
        let content =
            content.replace("RULE_FILE", lang.rule()).replace(LANGUAGE_MARK, lang.title());
        fs::create_dir_all(file.parent().expect("a file lies in a folder")).map_err(unwritable)?;
        fs::write(&file, content).map_err(unwritable)?;
        if path.ends_with(SCRIPT) {
            let everyone = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&file, everyone).map_err(unwritable)?;
        }
    }
    fs::rename(&project, dir).map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> PluginName {
        PluginName::parse("night-ban").expect("a name")
    }

    #[test]
    fn every_language_gets_a_project_with_its_name_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        for lang in Language::value_variants() {
            let dir = folder.path().join(lang.title());
            write_project(&name(), *lang, &dir).expect("written");
            let read = |path: &str| fs::read_to_string(dir.join(path)).expect(path);
            assert!(read(lang.rule()).contains("night-ban"), "{lang:?}");
            assert!(read("README.md").contains(lang.rule()), "{lang:?}");
            assert_eq!(read("wit/plugin.wit"), CONTRACT);
            let mode = fs::metadata(dir.join("build.sh")).expect("a script").permissions().mode();
            assert_eq!(mode & 0o777, 0o755, "{lang:?}");
            for (path, _) in lang.files().iter().chain(&Language::common()) {
                for mark in [NAME_MARK, LANGUAGE_MARK, "RULE_FILE"] {
                    assert!(!read(path).contains(mark), "{lang:?}: {path} still says {mark}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_left_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("mine");
        fs::write(&dir, "precious").expect("a file");
        let failure = write_project(&name(), Language::C, &dir).expect_err("it is there");
        assert!(failure.to_string().contains("choose another folder with --dir"), "{failure}");
        assert_eq!(fs::read_to_string(&dir).expect("still a file"), "precious");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    /// What is in a template's folder and not in its list would be missing at a newcomer's.
    #[test]
    fn the_lists_have_every_file_of_the_templates() {
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/templates");
        for (lang, folder) in
            Language::value_variants().iter().zip(["rust", "c", "js", "ts", "python", "go"])
        {
            let mut listed: Vec<String> =
                lang.files().iter().map(|(path, _)| (*path).into()).collect();
            let mut found = Vec::new();
            collect(&templates.join(folder), &templates.join(folder), &mut found);
            listed.sort();
            found.sort();
            assert_eq!(listed, found, "{folder}");
        }
        let wit = fs::read_dir(templates.join("../../wit")).expect("the contract").flatten();
        let packages = wit.filter(|file| file.path().extension().is_some_and(|ext| ext == "wit"));
        assert_eq!(packages.count(), 1, "templates carry plugin.wit only");
    }

    fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().is_dir() {
                collect(root, &entry.path(), found);
            } else {
                found.push(entry.path().strip_prefix(root).expect("inside").display().to_string());
            }
        }
    }
}
