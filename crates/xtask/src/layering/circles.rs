//! Circles of imports between the source files of a package.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Violation, source::FileImport};

/// Finds circles: for each import, the shortest way back. Each circle is reported once, at the
/// import of its alphabetically first file.
pub(super) fn find(imports: &[FileImport]) -> Vec<Violation> {
    let mut graph: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for import in imports {
        graph.entry(&import.from).or_default().entry(&import.to).or_insert(import.line);
    }
    let mut circles = BTreeSet::new();
    for (from, targets) in &graph {
        for to in targets.keys() {
            if let Some(mut circle) = shortest_path(&graph, to, from) {
                let first =
                    circle.iter().enumerate().min_by_key(|(_, file)| **file).map_or(0, |(index, _)| index);
                circle.rotate_left(first);
                circles.insert(circle);
            }
        }
    }
    let mut violations = Vec::new();
    for circle in circles {
        let next = circle.get(1).unwrap_or(&circle[0]);
        let line = graph[circle[0]][next];
        let message = format!("circle of imports: {} → {}", circle.join(" → "), circle[0]);
        violations.push(Violation { file: circle[0].to_owned(), line, message });
    }
    violations
}

/// The files of the shortest path, both ends included.
fn shortest_path<'a>(
    graph: &BTreeMap<&'a str, BTreeMap<&'a str, usize>>,
    from: &'a str,
    to: &str,
) -> Option<Vec<&'a str>> {
    let mut previous = BTreeMap::from([(from, None)]);
    let mut queue = VecDeque::from([from]);
    while let Some(file) = queue.pop_front() {
        if file == to {
            let mut path = vec![file];
            let mut current = file;
            while let Some(Some(before)) = previous.get(current).copied() {
                path.push(before);
                current = before;
            }
            path.reverse();
            return Some(path);
        }
        for next in graph.get(file).into_iter().flat_map(BTreeMap::keys) {
            if !previous.contains_key(next) {
                previous.insert(next, Some(file));
                queue.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{super::source::tests::imports, *};

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let found = find(&imports(files));
        found.into_iter().map(|one| format!("{}:{}: {}", one.file, one.line, one.message)).collect()
    }

    #[test]
    fn tree_of_imports_has_no_circle() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\npub use a::A;\n"),
            ("a.rs", "use crate::b::B;\npub struct A;\n"),
            ("b.rs", "pub struct B;\n"),
        ];
        assert!(circles(&files).is_empty());
    }

    #[test]
    fn circle_of_two_files_is_reported_with_file_and_line() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\n"),
            ("a.rs", "pub struct A;\nuse crate::b::B;\n"),
            ("b.rs", "pub struct B;\nfn f(_: crate::a::A) {}\n"),
        ];
        assert_eq!(circles(&files), ["a.rs:2: circle of imports: a.rs → b.rs → a.rs"]);
    }

    #[test]
    fn circle_of_three_files_is_reported_once() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
            ("a.rs", "use crate::b::B;\npub struct A;\n"),
            ("b.rs", "use super::c::C;\npub struct B;\n"),
            ("c.rs", "pub struct C(crate::a::A);\n"),
        ];
        assert_eq!(circles(&files), ["a.rs:1: circle of imports: a.rs → b.rs → c.rs → a.rs"]);
    }

    #[test]
    fn parent_and_child_that_import_each_other_are_a_circle() {
        let files = [
            ("lib.rs", "mod a;\n"),
            ("a.rs", "mod child;\nuse self::child::C;\npub struct A(C);\n"),
            ("a/child.rs", "use super::A;\npub struct C(Option<Box<A>>);\n"),
        ];
        assert_eq!(circles(&files), ["a.rs:2: circle of imports: a.rs → a/child.rs → a.rs"]);
    }

    #[test]
    fn parent_may_declare_and_reexport_a_child_that_imports_it() {
        let files = [
            ("lib.rs", "mod a;\n"),
            ("a.rs", "mod child;\npub(crate) use self::child::C;\npub struct A;\n"),
            ("a/child.rs", "use super::A;\npub struct C(A);\n"),
        ];
        assert!(circles(&files).is_empty());
    }
}
