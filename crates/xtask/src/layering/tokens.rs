//! Helpers for the tokens of a source file.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// The number of segments of the path `a::b::c` at the start of these tokens.
pub(super) fn path_length(tokens: &[TokenTree]) -> usize {
    let mut length = 1;
    while tokens.get(3 * length - 2..3 * length).is_some_and(is_path_separator)
        && matches!(tokens.get(3 * length), Some(TokenTree::Ident(_)))
    {
        length += 1;
    }
    length
}

/// Removes attributes, except before `mod`, and the items under `#[cfg(test)]`, at every depth.
pub(crate) fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let group_at = at + 1 + usize::from(is_punct(tokens.get(at + 1), '!'));
        match (&tokens[at], tokens.get(group_at)) {
            (TokenTree::Punct(hash), Some(TokenTree::Group(attribute))) if hash.as_char() == '#' => {
                let is_inner = group_at == at + 2;
                let is_test = is_cfg_test(&attribute.stream().to_string());
                match (is_test, is_inner) {
                    (true, true) => return kept,
                    (true, false) => at = end_of_item(&tokens, group_at + 1),
                    (false, _) => {
                        kept.extend([tokens[at].clone(), tokens[group_at].clone()]);
                        at = group_at + 1;
                    }
                }
            }
            (TokenTree::Group(group), _) => {
                let inner = without_tests(group.stream()).into_iter().collect();
                let mut cleaned = proc_macro2::Group::new(group.delimiter(), inner);
                cleaned.set_span(group.span());
                kept.push(TokenTree::Group(cleaned));
                at += 1;
            }
            (token, _) => {
                kept.push(token.clone());
                at += 1;
            }
        }
    }
    kept
}

/// Whether an attribute is `cfg(test)` or `cfg(all(test, …))`.
fn is_cfg_test(attribute: &str) -> bool {
    let text: String = attribute.split_whitespace().collect();
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

/// The index after the item that starts here: after its `;` or its block. A field ends with a
/// comma.
fn end_of_item(tokens: &[TokenTree], start: usize) -> usize {
    let is_declaration = |token: &TokenTree| {
        let keywords = ["fn", "impl", "struct", "enum", "trait", "type", "use"];
        matches!(token, TokenTree::Ident(ident) if keywords.iter().any(|keyword| ident == keyword))
    };
    let mut has_declaration = false;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        has_declaration |= is_declaration(token);
        let is_block = matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        let is_use = is_block && tokens[start..at].iter().any(|token| token.to_string() == "use");
        if is_punct(Some(token), ';')
            || (is_block && !is_use)
            || (is_punct(Some(token), ',') && !has_declaration)
        {
            return at + 1;
        }
    }
    tokens.len()
}

/// The values of `path = "…"` in the attributes before an item.
pub(super) fn path_attributes(before: &[TokenTree]) -> Vec<String> {
    let mut paths = Vec::new();
    for token in before.iter().rev() {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
                let text: String = group.stream().to_string().split_whitespace().collect();
                let path = text.split_once("path=\"").and_then(|(_, rest)| rest.split_once('"'));
                paths.extend(path.map(|(path, _)| path.to_owned()));
            }
            TokenTree::Group(_) => {}
            TokenTree::Punct(punct) if punct.as_char() == '#' => {}
            TokenTree::Ident(ident) if ident == "pub" => {}
            _ => break,
        }
    }
    paths
}

pub(super) fn is_visibility(token: &TokenTree) -> bool {
    match token {
        TokenTree::Ident(ident) => ident == "pub",
        TokenTree::Group(group) => group.delimiter() == Delimiter::Parenthesis,
        _ => false,
    }
}

/// Whether two tokens are `::`; a lone `:` starts a type.
pub(super) fn is_path_separator(tokens: &[TokenTree]) -> bool {
    let [TokenTree::Punct(first), second] = tokens else { return false };
    first.as_char() == ':' && first.spacing() == Spacing::Joint && is_punct(Some(second), ':')
}

pub(super) fn is_group(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(_)))
}

pub(crate) fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}
