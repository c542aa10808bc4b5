//! A crate's sources as modules, and the paths each one names outside its tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// A file of a crate.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: PathBuf,
    /// Where it stands: empty for `lib.rs`.
    pub(crate) module: Vec<String>,
    /// Whether it is compiled for tests alone.
    pub(crate) test: bool,
    pub(crate) lines: usize,
    /// The lines of its parts that are compiled for tests alone.
    pub(crate) test_lines: usize,
    /// Absolute paths it names outside those, each with its line; `crate` comes first in one of its own crate.
    pub(crate) names: Vec<(Vec<String>, usize)>,
    /// What it brings into its own scope by `use`: the name, and the path it stands for.
    pub(crate) uses: BTreeMap<String, Vec<String>>,
}

/// Reads a crate from its root file on.
pub(crate) fn read(root: &Path) -> Vec<Source> {
    let mut all = Vec::new();
    let folder = root.parent().unwrap().to_owned();
    read_file(root, &folder, Vec::new(), false, &mut all);
    all
}

fn read_file(file: &Path, folder: &Path, module: Vec<String>, test: bool, all: &mut Vec<Source>) {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let parsed =
        syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut reader = Reader {
        scopes: vec![module.clone()],
        names: Vec::new(),
        uses: BTreeMap::new(),
        test_lines: 0,
        modules: Vec::new(),
        folders: vec![folder.to_owned()],
        file_folder: file.parent().unwrap().to_owned(),
    };
    for item in &parsed.items {
        reader.visit_item(item);
    }
    let Reader {
        names,
        uses,
        test_lines,
        modules,
        ..
    } = reader;
    all.push(Source {
        file: file.to_owned(),
        module,
        test,
        lines: text.lines().count(),
        test_lines,
        names,
        uses,
    });
    for declared in modules {
        let own_folder = declared.folder.join(declared.module.last().unwrap());
        let candidates = match &declared.path {
            Some(path) => vec![(path.clone(), path.parent().unwrap().to_owned())],
            None => vec![
                (own_folder.with_extension("rs"), own_folder.clone()),
                (own_folder.join("mod.rs"), own_folder.clone()),
            ],
        };
        // What a build script writes is not in the tree.
        if let Some((file, folder)) = candidates.into_iter().find(|(file, _)| file.is_file()) {
            read_file(&file, &folder, declared.module, test || declared.test, all);
        }
    }
}

/// `mod name;`
struct Declared {
    module: Vec<String>,
    folder: PathBuf,
    path: Option<PathBuf>,
    test: bool,
}

struct Reader {
    /// The module of every nesting of inline modules.
    scopes: Vec<Vec<String>>,
    folders: Vec<PathBuf>,
    file_folder: PathBuf,
    names: Vec<(Vec<String>, usize)>,
    uses: BTreeMap<String, Vec<String>>,
    test_lines: usize,
    modules: Vec<Declared>,
}

impl Reader {
    fn scope(&self) -> &[String] {
        self.scopes.last().unwrap()
    }

    /// The path as everybody would have to spell it, if it leads into this crate or begins with a name.
    fn absolute(&self, path: &[String]) -> Vec<String> {
        let mut at = self.scope().to_vec();
        let mut rest = path;
        match path.first().map(String::as_str) {
            Some("crate") => return path.to_vec(),
            Some("self") => rest = &rest[1..],
            Some("super") => {
                while rest.first().is_some_and(|name| name == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
            }
            _ => return path.to_vec(),
        }
        let own = std::iter::once("crate".to_owned()).chain(at);
        own.chain(rest.iter().cloned()).collect()
    }

    fn name(&mut self, path: &[String], span: Span) {
        let absolute = self.absolute(path);
        self.names.push((absolute, span.start().line));
    }

    fn use_tree(&mut self, tree: &UseTree, before: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.use_tree(&path.tree, before);
                before.pop();
            }
            UseTree::Name(name) => {
                let ident = name.ident.to_string();
                let mut path = before.clone();
                let alias = if ident == "self" {
                    before.last().cloned().unwrap_or_default()
                } else {
                    path.push(ident.clone());
                    ident
                };
                self.bring(alias, &path, name.span());
            }
            UseTree::Rename(rename) => {
                let mut path = before.clone();
                path.push(rename.ident.to_string());
                self.bring(rename.rename.to_string(), &path, rename.span());
            }
            UseTree::Glob(glob) => self.name(&before.clone(), glob.span()),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree, before);
                }
            }
        }
    }

    fn bring(&mut self, alias: String, path: &[String], span: Span) {
        if self.scopes.len() == 1 {
            let absolute = self.absolute(path);
            self.uses.insert(alias, absolute);
        }
        self.name(path, span);
    }

    /// The paths in what a macro is given, which is not parsed.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut start = Span::call_site();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.flush(&mut path, start);
                        start = ident.span();
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.flush(&mut path, start);
                    colons = 0;
                    self.tokens(group.stream());
                }
                _ => {
                    self.flush(&mut path, start);
                    colons = 0;
                }
            }
        }
        self.flush(&mut path, start);
    }

    fn flush(&mut self, path: &mut Vec<String>, span: Span) {
        if path.len() > 1 {
            self.name(path, span);
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_for_tests) {
            let span = item.span();
            self.test_lines += span.end().line - span.start().line + 1;
            if let Item::Mod(module) = item {
                self.declare(module, true);
            }
            return;
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.declare(module, false);
        if let Some((_, items)) = &module.content {
            let name = module.ident.to_string();
            let inner: Vec<String> = self.scope().iter().cloned().chain([name.clone()]).collect();
            let folder = self.folders.last().unwrap().join(&name);
            self.scopes.push(inner);
            self.folders.push(folder);
            for item in items {
                self.visit_item(item);
            }
            self.scopes.pop();
            self.folders.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if names.len() > 1 {
            self.name(&names, path.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.visit_path(&mac.path);
        self.tokens(mac.tokens.clone());
    }
}

impl Reader {
    fn declare(&mut self, module: &syn::ItemMod, test: bool) {
        if module.content.is_some() {
            return;
        }
        let name = module.ident.to_string();
        let path = module.attrs.iter().find_map(|attribute| {
            let syn::Meta::NameValue(pair) = &attribute.meta else {
                return None;
            };
            let syn::Expr::Lit(literal) = &pair.value else {
                return None;
            };
            let syn::Lit::Str(text) = &literal.lit else {
                return None;
            };
            pair.path
                .is_ident("path")
                .then(|| self.file_folder.join(text.value()))
        });
        self.modules.push(Declared {
            module: self.scope().iter().cloned().chain([name]).collect(),
            folder: self.folders.last().unwrap().clone(),
            path,
            test,
        });
    }
}

fn is_for_tests(attribute: &Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else {
        return false;
    };
    let words = list.tokens.to_string();
    list.path.is_ident("cfg") && (words == "test" || words.starts_with("all (test"))
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
