//! Which source file imports which, and circles among those.
//!
//! A path in a `use`, or one in the code that begins with `crate`, `super`, a child or an
//! imported module, leads to the file that defines its item, through re-exports. Imports
//! of a module by the files below it are left out: a folder's `mod.rs` has the types of
//! the whole folder. So are unit tests.

use std::collections::{BTreeMap, BTreeSet};

/// The modules of the crate by their paths: `storage::log`, and the empty one.
pub struct Modules(BTreeMap<Vec<String>, Module>);

struct Module {
    file: String,
    /// The code but for `use`, comments and unit tests.
    code: String,
    imports: Vec<Import>,
}

/// `use path as name`; a `*` is a name, too.
#[derive(Debug, PartialEq)]
struct Import {
    path: Vec<String>,
    name: String,
}

/// A file that a file imports, with the path that says so.
type Edges = BTreeMap<String, BTreeMap<String, String>>;

/// The code of a file without comments and unit tests.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Parts code into what it imports and the rest.
fn part(code: &str) -> (Vec<Import>, String) {
    let (mut imports, mut rest) = (Vec::new(), String::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        let public = start.starts_with("pub");
        let Some((before, after)) = start.split_once("use ") else {
            rest += line;
            rest.push('\n');
            continue;
        };
        if !(before.is_empty() || public && !before.contains(['{', ';', '='])) {
            rest += line;
            rest.push('\n');
            continue;
        }
        let mut tree = after.to_owned();
        while !tree.contains(';') {
            tree += lines.next().expect("a use has an end");
        }
        expand(&[], tree.split(';').next().unwrap_or_default(), &mut imports);
    }
    (imports, rest)
}

/// The imports of a tree: `a::{b, c::{self, D as E}}`.
fn expand(before: &[String], tree: &str, imports: &mut Vec<Import>) {
    let Some((head, list)) = tree.split_once('{') else {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, ""));
        let mut path: Vec<_> = path.trim().split("::").map(str::to_owned).collect();
        path = [before, &path].concat();
        if path.last().is_some_and(|it| it == "self") {
            path.pop();
        }
        let last = path.last().cloned().unwrap_or_default();
        let name = if name.is_empty() { last } else { name.trim().to_owned() };
        return imports.push(Import { path, name });
    };
    let head = head.trim().split("::").filter(|it| !it.is_empty()).map(str::to_owned);
    let before: Vec<_> = before.iter().cloned().chain(head).collect();
    let (mut depth, mut item) = (1, String::new());
    for c in list.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 || depth == 1 && c == ',' {
            if !item.trim().is_empty() {
                expand(&before, item.trim(), imports);
            }
            item.clear();
        } else {
            item.push(c);
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The paths in code: words with `::` between.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for piece in code.split(|c: char| !is_word(c) && c != ':') {
        let words: Vec<_> = piece.split("::").map(str::to_owned).collect();
        if words.len() > 1 && words[1..].iter().all(|word| !word.contains(':')) {
            found.push(words.into_iter().filter(|it| !it.is_empty()).collect());
        }
    }
    found
}

fn defines(code: &str, name: &str) -> bool {
    let keywords =
        ["fn", "struct", "enum", "trait", "type", "const", "static", "union", "macro_rules!"];
    keywords.iter().any(|keyword| {
        let item = format!("{keyword} {name}");
        code.match_indices(&item).any(|(at, _)| !code[at + item.len()..].starts_with(is_word))
    })
}

impl Modules {
    /// Those of `sources`, which are paths below `src/` with their texts.
    pub fn of(sources: &[(String, String)]) -> Modules {
        let module = |(path, text): &(String, String)| {
            let place = path.strip_prefix("src/")?.strip_suffix(".rs")?;
            let mut place: Vec<_> = place.split('/').map(str::to_owned).collect();
            if place == ["lib"] || place.last().is_some_and(|it| it == "mod") {
                place.pop();
            }
            let (imports, code) = part(&code_of(text));
            let tests = place.last().is_some_and(|it| it == "tests");
            (!tests).then(|| (place, Module { file: path.clone(), code, imports }))
        };
        Modules(sources.iter().filter_map(module).collect())
    }

    /// The module and the item that a path leads to from a module, if it is of the crate;
    /// the item is empty if the path is that of the module.
    fn resolve(
        &self,
        from: &[String],
        path: &[String],
        depth: usize,
    ) -> Option<(Vec<String>, String)> {
        let (mut at, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (from.to_vec(), &path[1..]),
            "super" => (from.to_vec(), path),
            first => {
                let module = self.0.get(from)?;
                let child = [from, &[first.to_owned()]].concat();
                let imported = module.imports.iter().any(|it| it.name == *first);
                if !self.0.contains_key(&child) && !imported {
                    return None;
                }
                (from.to_vec(), path)
            }
        };
        while rest.first().is_some_and(|it| it == "super") {
            at.pop()?;
            rest = &rest[1..];
        }
        while let Some(name) = rest.first() {
            let child = [&at[..], std::slice::from_ref(name)].concat();
            let module = self.0.get(&at)?;
            if self.0.contains_key(&child) {
                at = child;
            } else if defines(&module.code, name) || name == "*" || depth == 0 {
                return Some((at, name.clone()));
            } else {
                let found = self.imported(&at, name, depth - 1)?;
                if !found.1.is_empty() {
                    return Some(found);
                }
                at = found.0;
            }
            rest = &rest[1..];
        }
        Some((at, String::new()))
    }

    /// Where a name leads that a module imports.
    fn imported(&self, at: &[String], name: &str, depth: usize) -> Option<(Vec<String>, String)> {
        let imports = &self.0.get(at)?.imports;
        if let Some(import) = imports.iter().find(|it| it.name == name) {
            return self.resolve(at, &import.path, depth);
        }
        imports.iter().filter(|it| it.name == "*").find_map(|glob| {
            let (module, _) = self.resolve(at, &glob.path, depth)?;
            let path = [&["crate".to_owned()], &module[..], &[name.to_owned()]].concat();
            let defined = defines(&self.0.get(&module)?.code, name);
            defined.then(|| self.resolve(at, &path, depth)).flatten()
        })
    }

    fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for (place, module) in &self.0 {
            let uses = module.imports.iter().map(|it| it.path.clone());
            for path in uses.chain(paths(&module.code)) {
                let Some((to, item)) = self.resolve(place, &path, 5) else { continue };
                // A module itself is no item; a path through it names one.
                if !item.is_empty() && !place.starts_with(&to) {
                    let to = self.0[&to].file.clone();
                    let from = edges.entry(module.file.clone()).or_default();
                    from.entry(to).or_insert(path.join("::"));
                }
            }
        }
        edges
    }

    /// How many imports there are.
    pub fn count(&self) -> usize {
        self.edges().values().map(BTreeMap::len).sum()
    }

    /// A shortest circle through each file that is in one and in none told before.
    pub fn circles(&self) -> Vec<String> {
        let edges = self.edges();
        let (mut told, mut circles) = (BTreeSet::new(), Vec::new());
        for start in edges.keys() {
            if told.contains(start) {
                continue;
            }
            let Some(circle) = circle(&edges, start) else { continue };
            let step = |pair: &[&String]| {
                format!("{} imports {} ({})", pair[0], pair[1], edges[pair[0]][pair[1]])
            };
            circles.push(circle.windows(2).map(step).collect::<Vec<_>>().join(",\n    "));
            told.extend(circle.into_iter().cloned());
        }
        circles
    }
}

/// The shortest way from a file back to it.
fn circle<'a>(edges: &'a Edges, start: &'a String) -> Option<Vec<&'a String>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in &ways {
            let last = *way.last().expect("a way has a start");
            for to in edges.get(last).into_iter().flat_map(BTreeMap::keys) {
                if to == start {
                    return Some([&way[..], &[to]].concat());
                }
                if seen.insert(to) {
                    longer.push([&way[..], &[to]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}
