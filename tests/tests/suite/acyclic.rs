//! Within each crate no file imports, directly or around, a file that imports it.
//!
//! An import is a path in a `use` or in an expression that leads to another file. It begins with
//! `crate`, `self`, `super` or a child module: `inspect::run(...)` is an import, `mod inspect;` is
//! none. A name that a file only hands on (`pub use`) leads to the file that defines it. Test
//! modules do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

/// The crates of the repository, but for those of one file.
const CRATES: [&str; 8] = [
    "formats",
    "runtime",
    "report",
    "trainer",
    "lab",
    "xtask",
    "tests",
    "firmware-example",
];

/// A module's path, `["data", "npy"]`; the crate's root is empty.
type Module = Vec<String>;

/// Which modules each module imports, and by which names.
type Imports = BTreeMap<Module, BTreeMap<Module, BTreeSet<String>>>;

/// The text without comments, texts and test modules.
fn code_of(text: &str) -> String {
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    let mut code = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or(line);
        code.push_str(line);
        code.push('\n');
    }
    code
}

/// Reads the files of a crate, by the module that each is.
fn files(folder: &Path, module: &Module, all: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let child = || [module.as_slice(), std::slice::from_ref(&name)].concat();
        if path.is_dir() {
            files(&path, &child(), all);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let is_root = module.is_empty() && matches!(name.as_str(), "lib" | "main");
            let module = match name == "mod" || is_root {
                true => module.clone(),
                false => child(),
            };
            // A crate with both is a library and a program that calls it.
            if name != "main" || !folder.join("lib.rs").exists() {
                all.insert(module, code_of(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
}

/// The paths of a `use` tree: `a::{b, c::D as E}` is `a::b` and `a::c::D`.
fn paths(tree: &str) -> Vec<String> {
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree);
        return vec![path.split_whitespace().collect()];
    };
    let inside = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (place, sign) in inside.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inside[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    let prefix = &tree[..open];
    parts
        .flat_map(|part| paths(&format!("{prefix}{}", part.trim())))
        .collect()
}

/// Where the trees of all `use` in the code are, and whether each is handed on.
fn trees(code: &str) -> Vec<(Range<usize>, bool)> {
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(place) = code[start..].find("use ") {
        let before = &code[start..start + place];
        let line = before.rsplit(['\n', ';', '}']).next().unwrap_or("").trim();
        start += place + 4;
        let end = code[start..]
            .find(';')
            .map_or(code.len(), |end| start + end);
        let begins = line.is_empty() || line.starts_with("pub") || line.ends_with(']');
        let is_in_tree = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_:{},*".contains(c);
        // What stands in a text is no statement.
        let is_statement = begins && code[start..end].chars().all(is_in_tree);
        if is_statement {
            let is_public = line.starts_with("pub") || line.contains("] pub");
            found.push((start..end, is_public));
        }
    }
    found
}

/// The paths of all `use` in the code, and whether each is handed on.
fn uses(code: &str) -> Vec<(String, bool)> {
    let trees = trees(code).into_iter();
    trees
        .flat_map(|(tree, is_public)| {
            let paths = paths(&code[tree]).into_iter();
            paths.map(move |path| (path, is_public))
        })
        .collect()
}

/// The child modules that the code declares: `mod inner;`.
fn children(code: &str) -> BTreeSet<&str> {
    let declared = code.split(';').filter_map(|statement| {
        let mut words = statement.split_whitespace().rev();
        let name = words.next()?;
        (words.next()? == "mod").then_some(name)
    });
    declared.collect()
}

/// Paths in expressions and types: `crate::rng::generator`, and `inner::run` where `inner` is a
/// child module.
fn expressions(code: &str) -> Vec<String> {
    let children = children(code);
    let trees = trees(code);
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code.split(|c: char| !is_part(c));
    // Whether the word stands in a `use`, and whether that hands on.
    let in_use = |word: &str| {
        let place = word.as_ptr().addr() - code.as_ptr().addr();
        let tree = trees.iter().find(|(tree, _)| tree.contains(&place));
        tree.map(|&(_, is_public)| is_public)
    };
    let paths = words.filter(|word| match word.split_once("::") {
        // A plain `use` is read elsewhere.
        Some(("crate" | "super" | "self", _)) => in_use(word) != Some(false),
        Some((first, _)) if children.contains(first) => in_use(word).is_none(),
        _ => false,
    });
    paths
        .map(|word| word.trim_end_matches(':').to_owned())
        .collect()
}

/// A path from the crate's root; `None` if it leads out of the crate.
fn absolute(module: &Module, path: &str, files: &BTreeMap<Module, String>) -> Option<Module> {
    let parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
    let mut base = module.clone();
    let mut rest = parts.as_slice();
    match *rest.first()? {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            while rest.first() == Some(&"super") {
                base.pop();
                rest = &rest[1..];
            }
            base.extend(rest.iter().map(|&part| part.to_owned()));
            return Some(base);
        }
        first => {
            base.push(first.to_owned());
            if !files.contains_key(&base) {
                return None;
            }
            base.pop();
            base.extend(rest.iter().map(|&part| part.to_owned()));
            return Some(base);
        }
    }
    base.extend(rest[1..].iter().map(|&part| part.to_owned()));
    Some(base)
}

/// The imports of a crate's files.
fn imports(folder: &Path) -> Imports {
    let mut all = BTreeMap::new();
    files(folder, &Vec::new(), &mut all);
    // Names that a file hands on, and where they come from.
    let mut handed: BTreeMap<Module, Module> = BTreeMap::new();
    for (module, code) in &all {
        for (path, is_public) in uses(code) {
            if let (true, Some(from)) = (is_public, absolute(module, &path, &all)) {
                let name = from.last().cloned().unwrap_or_default();
                handed.insert([module.as_slice(), &[name]].concat(), from);
            }
        }
    }
    let defines = |path: &Module| -> Option<Module> {
        let mut path = path.clone();
        'again: for _ in 0..10 {
            for length in (0..=path.len()).rev() {
                let (head, tail) = path.split_at(length);
                if let Some(from) = handed.get(head).filter(|from| from.as_slice() != head) {
                    path = [from.as_slice(), tail].concat();
                    continue 'again;
                }
                if all.contains_key(head) {
                    return Some(head.to_vec());
                }
            }
            return None;
        }
        None
    };
    let mut edges = Imports::new();
    for (module, code) in &all {
        let own = uses(code).into_iter().filter(|(_, is_public)| !is_public);
        let paths = own.map(|(path, _)| path).chain(expressions(code));
        let edges = edges.entry(module.clone()).or_default();
        for path in paths {
            let target = absolute(module, &path, &all).and_then(|path| defines(&path));
            if let Some(target) = target.filter(|target| target != module) {
                edges.entry(target).or_default().insert(path);
            }
        }
    }
    edges
}

/// The modules from which a way leads back to themselves, with the imports among them, as lines.
fn circles(edges: &Imports) -> Vec<String> {
    let reachable = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            for target in edges.get(&module).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(target.clone()) {
                    next.push(target.clone());
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&Module, BTreeSet<Module>> = edges
        .keys()
        .map(|module| (module, reachable(module)))
        .collect();
    let mut lines = Vec::new();
    for (module, targets) in edges {
        for (target, names) in targets {
            if reach
                .get(target)
                .is_some_and(|reached| reached.contains(module))
            {
                let (from, to) = (module.join("/"), target.join("/"));
                lines.push(format!("{from} -> {to} by {names:?}"));
            }
        }
    }
    lines
}

#[test]
fn no_file_imports_one_that_imports_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in CRATES {
        let edges = imports(&root.join(name).join("src"));
        assert!(edges.len() > 5, "{name}: {} files", edges.len());
        let arrows: usize = edges.values().map(BTreeMap::len).sum();
        assert!(arrows > edges.len() / 5, "{name}: {arrows} imports");
        let circles = circles(&edges);
        assert!(circles.is_empty(), "{name}:\n{}", circles.join("\n"));
    }
}

#[test]
fn a_circle_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("lib.rs", "pub mod a;\npub mod b;\n");
    write("a/mod.rs", "mod inner;\npub use inner::Thing;\n");
    write("a/inner.rs", "pub struct Thing;\n// use crate::b::Other;\n");
    write(
        "b.rs",
        "use crate::{a::Thing as Other};\npub struct B(Other);\n",
    );
    assert_eq!(circles(&imports(folder.path())), [""; 0]);
    // What is handed on is where it is defined: the facade itself is no room.
    let edges = imports(folder.path());
    let b = &edges[&vec!["b".to_owned()]];
    assert!(
        b.contains_key(&vec!["a".to_owned(), "inner".to_owned()]),
        "{b:?}"
    );

    write(
        "a/inner.rs",
        "pub struct Thing;\npub fn f() -> super::super::b::B { todo() }\n",
    );
    let found = circles(&imports(folder.path()));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("a/inner -> b by"), "{found:?}");
    // A path that begins with a child module is an import; its declaration is none.
    write("a/inner.rs", "pub fn f(_: super::Known) {}\n");
    write(
        "a/mod.rs",
        "mod inner;\npub use inner::f;\npub struct Known;\n",
    );
    assert_eq!(circles(&imports(folder.path())), [""; 0]);
    write(
        "a/mod.rs",
        "mod inner;\npub struct Known;\nfn g() { inner::f(Known) }\n",
    );
    let found = circles(&imports(folder.path()));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("a -> a/inner by"), "{found:?}");
    write("a/mod.rs", "mod inner;\npub use inner::Thing;\n");
    // What tests import ties no files.
    write(
        "a/inner.rs",
        "pub struct Thing;\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n",
    );
    assert_eq!(circles(&imports(folder.path())), [""; 0]);
}
