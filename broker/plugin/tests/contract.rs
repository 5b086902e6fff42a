//! What the version of the WIT package promises: earlier versions are a part of the present one, and
//! components that were built for them judge as they did. See `wit/README.md`.

mod rig;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rig::{Base, event, host, judge_all};
use weir_plugin_host::{BindingSettings, Change, Stage, StageVerdict};
use weir_wire::admin::Limits;
use weir_wire::ids::{Digest, PluginName, TopicName};
use wit_parser::{
    Function, Handle, Resolve, Type, TypeDefKind, TypeId, TypeOwner, WorldItem, WorldKey,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A package as lines: where something stands, and all that a component can see of it. In a line
/// `import`s may be added by a later version, `export`s may not: old components do not have them.
type Lines = BTreeMap<String, String>;

fn package(path: &Path) -> Lines {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(path).unwrap_or_else(|e| panic!("{path:?}: {e:#}"));
    lines_of(&resolve, package)
}

fn package_of(text: &str) -> Lines {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", text).expect("a package");
    lines_of(&resolve, package)
}

fn lines_of(resolve: &Resolve, package: wit_parser::PackageId) -> Lines {
    let mut lines = Lines::new();
    for (name, id) in &resolve.packages[package].interfaces {
        let interface = &resolve.interfaces[*id];
        for (of, id) in &interface.types {
            lines.insert(format!("{name}.{of}"), kind(resolve, &resolve.types[*id].kind));
        }
        for (of, function) in &interface.functions {
            lines.insert(format!("{name}.{of}"), signature(resolve, function));
        }
    }
    for (name, id) in &resolve.packages[package].worlds {
        let world = &resolve.worlds[*id];
        for (key, item) in &world.imports {
            let key = key_name(resolve, key);
            lines.insert(format!("world {name} imports {key}"), item_text(resolve, item));
        }
        let exports: Vec<String> = world
            .exports
            .iter()
            .map(|(key, item)| format!("{}: {}", key_name(resolve, key), item_text(resolve, item)))
            .collect();
        lines.insert(format!("world {name} exports"), exports.join("; "));
    }
    lines
}

/// Without versions: 0.1.1 stands in for 0.1.0.
fn key_name(resolve: &Resolve, key: &WorldKey) -> String {
    match key {
        WorldKey::Name(name) => name.clone(),
        WorldKey::Interface(id) => resolve.interfaces[*id].name.clone().expect("a named one"),
    }
}

fn item_text(resolve: &Resolve, item: &WorldItem) -> String {
    match item {
        WorldItem::Interface { .. } => "interface".to_owned(),
        WorldItem::Function(function) => signature(resolve, function),
        WorldItem::Type { id, .. } => type_name(resolve, *id),
    }
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let params: Vec<String> = function
        .params
        .iter()
        .map(|param| format!("{}: {}", param.name, text(resolve, &param.ty)))
        .collect();
    let result = function.result.as_ref().map(|ty| text(resolve, ty)).unwrap_or_default();
    format!("{:?} ({}) -> {result}", std::mem::discriminant(&function.kind), params.join(", "))
}

fn text(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Id(id) => type_name(resolve, *id),
        primitive => format!("{primitive:?}"),
    }
}

/// A type with a name by that and its owner's, so that a definition stands where it is made; an
/// alias (`use`) is what it stands for.
fn type_name(resolve: &Resolve, id: TypeId) -> String {
    let def = &resolve.types[id];
    match (&def.kind, &def.name, def.owner) {
        (TypeDefKind::Type(ty), _, _) => text(resolve, ty),
        (_, Some(name), TypeOwner::Interface(of)) => {
            format!("{}.{name}", resolve.interfaces[of].name.clone().expect("a named one"))
        }
        (other, _, _) => kind(resolve, other),
    }
}

fn kind(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let of = |ty: &Type| text(resolve, ty);
    let opt = |ty: &Option<Type>| ty.as_ref().map_or("_".to_owned(), of);
    match kind {
        TypeDefKind::Type(ty) => of(ty),
        TypeDefKind::List(ty) => format!("list<{}>", of(ty)),
        TypeDefKind::Option(ty) => format!("option<{}>", of(ty)),
        TypeDefKind::Result(r) => format!("result<{}, {}>", opt(&r.ok), opt(&r.err)),
        TypeDefKind::Tuple(t) => format!("tuple<{}>", all(t.types.iter().map(of))),
        TypeDefKind::Record(r) => {
            let fields = r.fields.iter().map(|f| format!("{}: {}", f.name, of(&f.ty)));
            format!("record {{ {} }}", all(fields))
        }
        TypeDefKind::Variant(v) => {
            let cases = v.cases.iter().map(|c| format!("{}({})", c.name, opt(&c.ty)));
            format!("variant {{ {} }}", all(cases))
        }
        TypeDefKind::Enum(e) => {
            format!("enum {{ {} }}", all(e.cases.iter().map(|c| c.name.clone())))
        }
        TypeDefKind::Flags(f) => {
            format!("flags {{ {} }}", all(f.flags.iter().map(|f| f.name.clone())))
        }
        TypeDefKind::Resource => "resource".to_owned(),
        TypeDefKind::Handle(Handle::Own(id)) => format!("own<{}>", type_name(resolve, *id)),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", type_name(resolve, *id)),
        other => panic!("teach this test about {other:?}"),
    }
}

fn all(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// What of `old` is not in `new`, or is another there.
fn broken(old: &Lines, new: &Lines) -> Vec<String> {
    let differs = |(place, what): &(&String, &String)| new.get(*place) != Some(*what);
    old.iter().filter(differs).map(|(place, what)| format!("{place} = {what}")).collect()
}

#[test]
fn every_published_version_is_a_part_of_the_present_one() {
    let present = package(&root().join("wit"));
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(root().join("wit/published")).expect("published versions") {
        let path = entry.expect("an entry").path();
        let broken = broken(&package(&path), &present);
        assert!(
            broken.is_empty(),
            "components built for {path:?} would no longer fit; undo this, or begin 0.2: {broken:#?}"
        );
        seen.push(path.file_stem().expect("a name").to_string_lossy().into_owned());
    }
    seen.sort();
    assert_eq!(seen[..2], ["0.1.0", "0.1.1"]);
}

/// That the comparison can fail.
#[test]
fn an_incompatible_edit_is_seen() {
    let old =
        "package a:b; interface i { record r { x: u8, y: list<string> } f: func(r: r) -> bool; }
               world w { import i; export go: func(); }";
    let check = |from: &str, to: &str| {
        let edited = old.replace(from, to);
        assert!(from.is_empty() || edited != old, "{from} is not there");
        broken(&package_of(old), &package_of(&edited))
    };
    assert_eq!(check("f: func", "g: func(); f: func"), Vec::<String>::new());
    assert_eq!(check("import i;", "import i; import log: func();"), Vec::<String>::new());
    assert_eq!(check("x: u8", "x: u16"), ["i.r = record { x: U8, y: list<String> }"]);
    assert_eq!(check("x: u8,", "x: u8, z: u8,").len(), 1, "a field more");
    assert_eq!(check("-> bool", "-> option<bool>").len(), 1);
    assert_eq!(check("import i;", "").len(), 1);
    assert_eq!(check("export go: func();", "export go: func(); export more: func();").len(), 1);
}

/// A change as text: `key=value`, a counter as its number, with `!` and the expiry if it has one.
fn shown(change: &Change) -> String {
    let key = String::from_utf8_lossy(&change.key).into_owned();
    let Some((value, expires_at)) = &change.value else { return format!("{key} gone") };
    let value = match <[u8; 8]>::try_from(&value[..]) {
        Ok(counter) => i64::from_le_bytes(counter).to_string(),
        Err(_) => String::from_utf8_lossy(value).into_owned(),
    };
    format!("{key}={value}{}", expires_at.map_or(String::new(), |at| format!("!{}", at.0)))
}

/// What a component says of three events of one key: its name, schema and config; signs, side events and
/// state changes.
type Judged = (&'static str, &'static str, &'static str, &'static str, usize, &'static str);

/// Two pass of a day, and the third tells of it.
const DAILY: &str = r#"{"limit":2,"time":"event","notice":"notices"}"#;

#[test]
fn components_of_0_1_0_judge_as_they_did() {
    judge_as_they_did(
        "0.1.0",
        &[
            ("accept", "", "{}", "+++", 0, ""),
            ("counter", "", r#"{"limit":2}"#, "++-", 0, "notices=3!86400001"),
            ("daily-limit", "", DAILY, "++-", 1, ""),
            ("drop", "", "{}", "...", 0, ""),
            ("emit", "", "{}", "+++", 6, ""),
            ("log-flood", "", "{}", "+++", 0, ""),
            ("reject", "", "{}", "---", 0, ""),
            ("replace", "", "{}", "===", 0, ""),
            (
                "state-flood",
                "",
                "{}",
                "+++",
                0,
                "\u{1}\0\0\0\0\0\0\0=v, \u{2}\0\0\0\0\0\0\0=v, \u{3}\0\0\0\0\0\0\0=v",
            ),
            ("trap-third", "", "{}", "++!", 0, "n=2"),
        ],
    );
}

#[test]
fn components_of_0_1_1_judge_as_they_did() {
    judge_as_they_did(
        "0.1.1",
        &[
            ("daily-limit", "", DAILY, "++-", 1, ""),
            ("per-letter", "per-letter", r#"{"limit":2}"#, "++-", 0, "n=3!86400001"),
        ],
    );
}

/// Each component that is kept of `version`, in the order of names, against what it said on the day
/// that it was built.
fn judge_as_they_did(version: &str, expected: &[Judged]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/components-{version}"));
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(names.iter().eq(expected.iter().map(|(name, ..)| name)), "{names:?}");
    for &(name, schema, config, signs, side_events, changes) in expected {
        let wasm = std::fs::read(folder.join(name).with_extension("wasm")).expect("a component");
        let names_version = |interface: &str| {
            let built_for = format!("weir:plugin/{interface}@{version}");
            wasm.windows(built_for.len()).any(|at| at == built_for.as_bytes())
        };
        assert!(names_version("types") || names_version("migration"), "{name} is of another");
        let artefact = host().compile(&wasm).unwrap_or_else(|error| panic!("{name}: {error}"));
        let plugin = host()
            .load(PluginName::parse(name).expect("a name"), Digest([0; 32]), &artefact)
            .expect("loads");
        assert_eq!(plugin.schema().as_str(), schema, "{name}");
        let emit = vec![TopicName::parse("notices").expect("a name")];
        let settings =
            BindingSettings { config: config.to_owned(), emit, limits: Limits::default() };
        let mut stage = plugin.stage(settings).expect("takes its config");
        let events = [1, 2, 3].map(|time| event("notices", "v", time));
        let outcome = judge_all(&mut stage, &Base::default(), 1, &events);
        assert_eq!(outcome.signs(), signs, "{name}");
        assert_eq!(outcome.side_events.len(), side_events, "{name}");
        if name == "daily-limit" {
            let Some(Ok(StageVerdict::Reject(why))) = outcome.verdicts.last() else {
                panic!("not rejected")
            };
            assert_eq!((&*why.code, why.retry_after_ms), ("daily-limit", Some(86_399_997)));
            assert!(!outcome.changes.is_empty());
        } else {
            let mut shown: Vec<String> = outcome.changes.iter().map(shown).collect();
            shown.sort();
            assert_eq!(shown.join(", "), changes, "{name}");
        }
        assert!(stage.finish().is_empty(), "{name}");
    }
}
