//! Reads the modules of a package from its source files, and finds the imports between the files.
//!
//! The files are split into tokens, so that paths in the arguments of macros count as well. Code
//! under `#[cfg(test)]` does not count. A path is followed through `use` items to the module that
//! defines the item, so a re-export alone makes no import.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, anyhow};
use proc_macro2::{TokenStream, TokenTree};

use super::tokens::{
    is_group, is_path_separator, is_punct, is_visibility, path_attributes, path_length, without_tests,
};

/// Most `use` items that are followed for one path. It stops circles of re-exports.
const MAX_DEPTH: usize = 32;

/// A module of a package: a file, or an inline module.
pub(super) struct Module {
    /// The file, relative to `src`.
    pub(super) file: String,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// The names of items that the module defines.
    items: BTreeSet<String>,
    imports: Vec<Import>,
}

/// A path to another module: of a `use` item, or in an expression or a type.
struct Import {
    path: Vec<String>,
    line: usize,
    /// The name that a `use` item brings into scope.
    name: Option<String>,
    is_glob: bool,
    is_reexport: bool,
}

/// An import between two files.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileImport {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) line: usize,
}

/// Reads the modules of `lib.rs` and of `main.rs`, from files by their path relative to `src`.
pub(super) fn parse(files: &BTreeMap<String, String>) -> anyhow::Result<Vec<Module>> {
    let mut parser = Parser { files, modules: Vec::new() };
    for root in ["lib.rs", "main.rs"] {
        if files.contains_key(root) {
            parser.add_file(root, None, "")?;
        }
    }
    Ok(parser.modules)
}

/// All imports between different files, sorted and without duplicates. Re-exports of a descendant
/// are left out.
pub(super) fn imports_between_files(modules: &[Module]) -> Vec<FileImport> {
    let mut found = BTreeSet::new();
    for (index, module) in modules.iter().enumerate() {
        for import in &module.imports {
            let Some(target) = resolve(modules, index, &import.path, MAX_DEPTH) else { continue };
            let is_own_reexport = import.is_reexport && is_descendant(modules, target, index);
            if modules[target].file != module.file && !is_own_reexport {
                let (from, to) = (module.file.clone(), modules[target].file.clone());
                found.insert(FileImport { from, to, line: import.line });
            }
        }
    }
    found.into_iter().collect()
}

fn is_descendant(modules: &[Module], module: usize, ancestor: usize) -> bool {
    std::iter::successors(modules[module].parent, |parent| modules[*parent].parent).any(|it| it == ancestor)
}

/// The module that defines what a path names; `None` for a path to another package.
fn resolve(modules: &[Module], from: usize, path: &[String], depth: usize) -> Option<usize> {
    let depth = depth.checked_sub(1)?;
    let (first, mut rest) = path.split_first()?;
    let mut current = match first.as_str() {
        "crate" => std::iter::successors(Some(from), |module| modules[*module].parent).last().unwrap_or(from),
        "self" => from,
        "super" => modules[from].parent?,
        name => match modules[from].children.get(name) {
            Some(child) => *child,
            None => resolve_use(modules, from, name, path, depth)?,
        },
    };
    while let Some((name, tail)) = rest.split_first() {
        let module = &modules[current];
        current = if name == "super" {
            module.parent?
        } else if let Some(child) = module.children.get(name) {
            *child
        } else if module.items.contains(name) {
            return Some(current);
        } else if module.imports.iter().any(|import| import.name.as_ref() == Some(name)) {
            resolve_use(modules, current, name, path, depth)?
        } else {
            return Some(resolve_glob(modules, current, name, depth).unwrap_or(current));
        };
        rest = tail;
    }
    Some(current)
}

/// Follows the `use` item of a module that brings this name into scope.
fn resolve_use(
    modules: &[Module],
    module: usize,
    name: &str,
    path: &[String],
    depth: usize,
) -> Option<usize> {
    let mut imports = modules[module].imports.iter();
    // `use name::…` does not define `name`, unless another item does.
    let import = imports.find(|import| import.name.as_deref() == Some(name) && import.path != path)?;
    resolve(modules, module, &import.path, depth)
}

/// Follows the glob imports of a module to the one that has this name.
fn resolve_glob(modules: &[Module], module: usize, name: &str, depth: usize) -> Option<usize> {
    let depth = depth.checked_sub(1)?;
    modules[module].imports.iter().filter(|import| import.is_glob).find_map(|import| {
        let target = resolve(modules, module, &import.path, depth)?;
        let found = &modules[target];
        let has_name = found.items.contains(name)
            || found.children.contains_key(name)
            || found.imports.iter().any(|import| import.name.as_deref() == Some(name));
        has_name.then(|| resolve(modules, target, &["self".to_owned(), name.to_owned()], depth))?
    })
}

struct Parser<'a> {
    files: &'a BTreeMap<String, String>,
    modules: Vec<Module>,
}

impl Parser<'_> {
    /// Reads a file as a module. `directory` contains the files of its children.
    fn add_file(&mut self, file: &str, parent: Option<usize>, directory: &str) -> anyhow::Result<usize> {
        let text = &self.files[file];
        let tokens: TokenStream =
            text.parse().map_err(|error| anyhow!("{file} cannot be split into tokens: {error}"))?;
        self.add_module(file, parent, directory, tokens)
    }

    fn add_module(
        &mut self,
        file: &str,
        parent: Option<usize>,
        directory: &str,
        tokens: TokenStream,
    ) -> anyhow::Result<usize> {
        let index = self.modules.len();
        self.modules.push(Module {
            file: file.to_owned(),
            parent,
            children: BTreeMap::new(),
            items: BTreeSet::new(),
            imports: Vec::new(),
        });
        let tokens = without_tests(tokens);
        self.add_children(index, directory, &tokens)?;
        self.add_imports(index, &tokens);
        Ok(index)
    }

    /// Adds the modules that `mod name;` and `mod name { … }` declare.
    fn add_children(&mut self, module: usize, directory: &str, tokens: &[TokenTree]) -> anyhow::Result<()> {
        let file = self.modules[module].file.clone();
        for (at, window) in tokens.windows(3).enumerate() {
            let [TokenTree::Ident(keyword), TokenTree::Ident(name), body] = window else { continue };
            if keyword != "mod" {
                continue;
            }
            let name = name.to_string();
            let child_directory = format!("{directory}{name}/");
            let child = if let TokenTree::Group(body) = body {
                self.add_module(&file, Some(module), &child_directory, body.stream())?
            } else {
                let default = [format!("{directory}{name}.rs"), format!("{directory}{name}/mod.rs")];
                // A `path` attribute is relative to the directory of the file.
                let own_directory = file.rfind('/').map_or("", |slash| &file[..=slash]);
                let named = path_attributes(&tokens[..at]).into_iter();
                let named = named.map(|path| format!("{own_directory}{path}"));
                let candidates = named.chain(default).filter(|path| self.files.contains_key(path));
                let files: Vec<String> = candidates.collect();
                let (first, others) =
                    files.split_first().with_context(|| format!("{file}: no file for mod {name}"))?;
                // The implementations of other platforms are modules without a name.
                for other in others {
                    self.add_file(other, Some(module), &child_directory)?;
                }
                self.add_file(first, Some(module), &child_directory)?
            };
            self.modules[module].children.insert(name, child);
        }
        Ok(())
    }

    /// Adds the names of items, the `use` items and all other paths of a module.
    fn add_imports(&mut self, module: usize, tokens: &[TokenTree]) {
        const ITEMS: [&str; 8] = ["const", "enum", "fn", "static", "struct", "trait", "type", "union"];
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                // The body of an inline module is another module.
                TokenTree::Ident(ident) if ident == "mod" && is_group(tokens.get(at + 2)) => at += 3,
                TokenTree::Ident(ident) if ident == "pub" && is_group(tokens.get(at + 1)) => at += 2,
                TokenTree::Ident(ident) if ident == "use" && !is_punct(tokens.get(at + 1), '<') => {
                    let is_reexport = at > 0 && is_visibility(&tokens[at - 1]);
                    let end = tokens[at..].iter().position(|token| is_punct(Some(token), ';'));
                    let end = end.map_or(tokens.len(), |end| at + end);
                    let imports = &mut self.modules[module].imports;
                    add_use_tree(&tokens[at + 1..end], &[], is_reexport, imports);
                    at = end;
                }
                TokenTree::Ident(ident) => {
                    if ITEMS.iter().any(|keyword| ident == keyword)
                        && let Some(TokenTree::Ident(name)) = tokens.get(at + 1)
                    {
                        self.modules[module].items.insert(name.to_string());
                    }
                    let length = path_length(&tokens[at..]);
                    let is_start = at < 2 || !is_path_separator(&tokens[at - 2..at]);
                    if length > 1 && is_start && self.is_internal(module, &ident.to_string()) {
                        let path = (0..length).map(|segment| tokens[at + 3 * segment].to_string());
                        let (path, line) = (path.collect(), ident.span().start().line);
                        let import = Import { path, line, name: None, is_glob: false, is_reexport: false };
                        self.modules[module].imports.push(import);
                    }
                    at += 3 * length - 2;
                }
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    self.add_imports(module, &inner);
                    at += 1;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => at += 1,
            }
        }
    }

    fn is_internal(&self, module: usize, segment: &str) -> bool {
        matches!(segment, "crate" | "self" | "super") || self.modules[module].children.contains_key(segment)
    }
}

/// Adds the paths of a `use` tree.
fn add_use_tree(tokens: &[TokenTree], prefix: &[String], is_reexport: bool, imports: &mut Vec<Import>) {
    let mut path = prefix.to_vec();
    let mut line = 0;
    let mut import = |path: Vec<String>, line: usize, name: Option<String>| {
        imports.push(Import { path, line, is_glob: name.is_none(), name, is_reexport });
    };
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Ident(ident) if ident == "as" => {
                let name = tokens.get(at + 1).map(ToString::to_string);
                return import(path, line, name);
            }
            TokenTree::Ident(ident) => {
                line = ident.span().start().line;
                // `{self}` names the module itself.
                if ident != "self" || path.is_empty() {
                    path.push(ident.to_string());
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == '*' => {
                return import(path, punct.span().start().line, None);
            }
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for tree in inner.split(|token| is_punct(Some(token), ',')).filter(|tree| !tree.is_empty()) {
                    add_use_tree(tree, &path, is_reexport, imports);
                }
                return;
            }
            // A leading `::` starts a path to another package.
            TokenTree::Punct(_) if path.is_empty() => return,
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at += 1;
    }
    let name = path.last().cloned();
    import(path, line, name);
}

#[cfg(test)]
#[path = "source_tests.rs"]
pub(super) mod tests;
