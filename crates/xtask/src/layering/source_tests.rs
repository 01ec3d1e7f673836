use super::*;

pub(in super::super) fn modules(files: &[(&str, &str)]) -> Vec<Module> {
    let files = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    parse(&files).expect("the sources can be read")
}

pub(in super::super) fn imports(files: &[(&str, &str)]) -> Vec<FileImport> {
    imports_between_files(&modules(files))
}

/// The imports of a package with the modules `a`, `a::child` and `b`.
fn imports_of(a: &str, child: &str, b: &str) -> Vec<String> {
    let a = format!("mod child;\n{a}");
    let files = [("lib.rs", "mod a;\nmod b;"), ("a.rs", a.as_str()), ("a/child.rs", child), ("b.rs", b)];
    let found = imports(&files);
    found.into_iter().map(|import| format!("{}:{} {}", import.from, import.line, import.to)).collect()
}

#[test]
fn use_items_are_imports() {
    let b = "pub struct B;\npub mod inner { pub struct C; }";
    for text in [
        "use crate::b::B;",
        "use super::b::B;",
        "use crate::{b::{self, B}};",
        "use crate::b::B as Other;",
        "use crate::b::*;",
        "use crate::b::inner::C;",
        "fn f() { use crate::b::B; }",
        "pub(crate) use crate::b::B;",
    ] {
        assert_eq!(imports_of(text, "", b), ["a.rs:2 b.rs"], "{text}");
    }
}

#[test]
fn paths_are_imports_also_in_macros() {
    for text in [
        "fn f() -> crate::b::B { g() }",
        "fn f() { vec![crate::b::B] }",
        "struct S { b: crate::b::B }",
        "impl crate::b::T for X {}",
        "fn f() { super::b::g::<u8>() }",
    ] {
        assert_eq!(
            imports_of(text, "", "pub struct B; pub trait T {} pub fn g() {}"),
            ["a.rs:2 b.rs"],
            "{text}"
        );
    }
    assert_eq!(imports_of("fn f() { child::g() }", "pub fn g() {}", ""), ["a.rs:2 a/child.rs"]);
    assert_eq!(imports_of("", "fn f() { super::super::b::g() }", "pub fn g() {}"), ["a/child.rs:1 b.rs"]);
}

#[test]
fn other_packages_strings_and_comments_are_no_imports() {
    for text in [
        "use std::fmt;",
        "use ::b::B;",
        "fn f() { ::b::g() }",
        "// crate::b::B\nconst S: &str = \"crate::b::B\";",
        "/// [`crate::b::B`]\nstruct S;",
        "pub(in crate::a) struct S;",
    ] {
        assert!(imports_of(text, "", "pub struct B;").is_empty(), "{text}");
    }
}

#[test]
fn tests_are_exempt() {
    for text in [
        "#[cfg(test)]\nmod tests { use crate::b::B; }",
        "#[cfg(test)]\nmod tests;",
        "#[cfg(test)]\nuse crate::b::{B, C};",
        "#[cfg(test)]\nfn f() { crate::b::g() }",
        "#[cfg(all(test, unix))]\nimpl X { fn f() { crate::b::g() } }",
        "struct S { #[cfg(test)] b: crate::b::B, c: u8 }",
    ] {
        assert!(imports_of(text, "", "pub struct B;").is_empty(), "{text}");
    }
    let after = "#[cfg(test)]\nuse crate::x::{Y, Z};\nuse crate::b::B;";
    assert_eq!(imports_of(after, "", "pub struct B;"), ["a.rs:4 b.rs"]);
    assert_eq!(imports_of("#[cfg(unix)]\nuse crate::b::B;", "", "pub struct B;"), ["a.rs:3 b.rs"]);
}

#[test]
fn reexport_of_a_child_is_no_import() {
    for text in ["pub use self::child::C;", "pub(crate) use child::{C, D};", "pub use child::*;"] {
        assert!(imports_of(text, "pub struct C; pub struct D;", "").is_empty(), "{text}");
    }
    assert_eq!(imports_of("use self::child::C;", "pub struct C;", ""), ["a.rs:2 a/child.rs"]);
}

#[test]
fn import_of_a_reexport_leads_to_the_file_that_defines_the_item() {
    let child = "pub struct C;";
    for a in ["pub use self::child::C;", "pub use child::*;", "pub use child::C as C;"] {
        assert_eq!(imports_of(a, child, "use crate::a::C;"), ["b.rs:1 a/child.rs"], "{a}");
    }
    assert_eq!(imports_of("pub struct A;", child, "use crate::a::A;"), ["b.rs:1 a.rs"]);
    // The parent's own `use` of another package is no item of the parent.
    assert!(imports_of("use std::fmt;", "use super::fmt;", "").is_empty());
}

#[test]
fn child_that_uses_an_item_of_its_parent_imports_the_parent() {
    assert_eq!(imports_of("pub struct A;", "use super::A;", ""), ["a/child.rs:1 a.rs"]);
    assert_eq!(imports_of("pub enum A { X }", "use super::A::X;", ""), ["a/child.rs:1 a.rs"]);
}

#[test]
fn inline_modules_belong_to_their_file() {
    let a = "mod inner {\n use super::super::b::B;\n}";
    assert_eq!(imports_of(a, "", "pub struct B;"), ["a.rs:3 b.rs"]);
}

#[test]
fn path_attributes_name_the_files_of_platforms() {
    let files = [
        ("lib.rs", "mod a;\nmod b;"),
        (
            "a.rs",
            "#[cfg_attr(unix, path = \"a/one.rs\")]\n#[cfg_attr(windows, path = \"a/two.rs\")]\nmod imp;",
        ),
        ("a/one.rs", "use crate::b::B;"),
        ("a/two.rs", "\nuse crate::b::B;"),
        ("b.rs", "pub struct B;"),
    ];
    let found: Vec<_> = imports(&files).into_iter().map(|import| (import.from, import.line)).collect();
    assert_eq!(found, [("a/one.rs".to_owned(), 1), ("a/two.rs".to_owned(), 2)]);
}

#[test]
fn missing_file_of_a_module_is_an_error() {
    let files = BTreeMap::from([("lib.rs".to_owned(), "mod a;".to_owned())]);
    assert_eq!(
        parse(&files).err().map(|error| error.to_string()).as_deref(),
        Some("lib.rs: no file for mod a")
    );
}
