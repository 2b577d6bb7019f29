use super::*;
use crate::ingest::catalog::File;

/// The catalog that a scan of these files gives, each as long as it says.
fn catalog(files: &[(String, u64)]) -> Catalog {
    #[derive(Default)]
    struct Node(std::collections::BTreeMap<String, (Option<u64>, Node)>);
    let mut top = Node::default();
    for (path, size) in files {
        let mut at = &mut top;
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            let entry = at.0.entry(name.to_owned()).or_default();
            entry.0 = names.peek().is_none().then_some(*size);
            at = &mut entry.1;
        }
    }
    let file = |mode, size| File { mode, size, ..File::default() };
    let mut catalog = Catalog::default();
    catalog.files.push(file(0o40_755, 0));
    let mut todo = vec![(ROOT, top)];
    while let Some((folder, node)) = todo.pop() {
        let mut folders = Vec::new();
        for (name, (size, node)) in node.0 {
            let made = size.map_or(file(0o40_755, 0), |size| file(0o100_644, size));
            let at = catalog.add(folder, name.as_bytes().into(), made);
            if size.is_none() {
                folders.push((at, node));
            }
        }
        todo.extend(folders.into_iter().rev());
    }
    catalog
}

/// The paths of these files in the order in which they are packed.
fn packed(files: &[(String, u64)], wanted: Option<Order>) -> Vec<String> {
    let catalog = catalog(files);
    let path = |at: &u32| String::from_utf8(catalog.path(*at)).unwrap();
    order(&catalog, wanted).0.iter().map(path).collect()
}

/// A small package below each folder: `name/code.py`, and so on.
fn packages(folders: &[&str]) -> Vec<(String, u64)> {
    let inner = [("code.py", 9000), ("data/a.txt", 500), ("data/b.txt", 800), ("text.md", 3000)];
    let mut files = Vec::new();
    for (folder, n) in folders.iter().zip(0..) {
        files.extend(inner.map(|(path, size)| (format!("{folder}/{path}"), size + n)));
    }
    files
}

/// Where each folder's version of a file comes, if they all come in a row and in this order.
#[track_caller]
fn assert_in_a_row(order: &[String], versions: &[&str]) {
    let at = order.iter().position(|path| path == versions[0]);
    let at = at.unwrap_or_else(|| panic!("no {} in {order:#?}", versions[0]));
    assert_eq!(&order[at..(at + versions.len()).min(order.len())], versions, "{order:#?}");
}

#[track_caller]
fn assert_family(folders: &[&str], versions: &[&str]) {
    let order = packed(&packages(folders), None);
    for name in ["code.py", "data/a.txt", "text.md"] {
        let paths: Vec<String> = versions.iter().map(|at| format!("{at}/{name}")).collect();
        assert_in_a_row(&order, &paths.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn versions_of_one_package_lie_side_by_side_in_natural_order() {
    let expected = ["pkg-3.2", "Pkg-4.2", "pkg-4.10"];
    assert_family(&["pkg-3.2", "pkg-4.10", "Pkg-4.2"], &expected);
    assert_family(&["pkg/1.0", "pkg/2.0", "other/x"], &["pkg/1.0", "pkg/2.0"]);
    assert_family(&["lib/python3.8", "lib/python3.10"], &["lib/python3.8", "lib/python3.10"]);
}

#[test]
fn the_folder_that_varies_may_be_at_any_level() {
    assert_family(&["a/b/c/1/d", "a/b/c/2/d", "a/b/c/3/d"], &["a/b/c/1/d", "a/b/c/2/d"]);
    // A version in two names of one path.
    assert_family(&["foo-1/foo-1/src", "foo-2/foo-2/src"], &["foo-1/foo-1/src", "foo-2/foo-2/src"]);
    let store = ["s/x@1.2.3/node_modules/x", "s/y@9/node_modules/y", "s/x@1.10.0/node_modules/x"];
    assert_family(&store, &[store[0], store[2]]);
}

#[test]
fn folders_without_a_version_in_their_names_are_told_by_what_is_in_them() {
    assert_family(&["store/k3f/pkg", "store/zz1/pkg"], &["store/k3f/pkg", "store/zz1/pkg"]);
    assert_family(&["stable", "nightly"], &["nightly", "stable"]);
}

#[test]
fn several_packages_each_have_versions() {
    let mut files = Vec::new();
    for package in ["alpha", "beta"] {
        for version in ["1.9", "1.10"] {
            for n in 0..9 {
                files.push((format!("all/{package}/{version}/{package}{n}.c"), 1000 + n * 300));
            }
        }
    }
    let order = packed(&files, None);
    assert_in_a_row(&order, &["all/alpha/1.9/alpha0.c", "all/alpha/1.10/alpha0.c"]);
    let first_beta = order.iter().position(|path| path.contains("beta")).unwrap();
    assert!(order[first_beta..].iter().all(|path| path.contains("beta")), "{order:#?}");
}

#[test]
fn file_names_that_vary_lie_side_by_side() {
    let names = ["lib/foo-1.10.so", "lib/foo-1.2.so", "lib/foo-1.2.so.sig", "lib/foo-1.9.so"];
    let files = names.map(|name| (name.to_owned(), 5000));
    let order = packed(&files, Some(Order::Versions));
    assert_in_a_row(&order, &["lib/foo-1.2.so", "lib/foo-1.9.so", "lib/foo-1.10.so"]);
    // Also where their folders vary with them.
    let mut files = packages(&["py3.8", "py3.9"]);
    files.extend([("py3.8/x.38.pyc".to_owned(), 50), ("py3.9/x.39.pyc".to_owned(), 50)]);
    assert_in_a_row(&packed(&files, None), &["py3.8/x.38.pyc", "py3.9/x.39.pyc"]);
}

#[test]
fn what_varies_from_one_folder_to_the_next_stays_where_it_is() {
    // The same names, but nothing of the same length: days of photographs.
    let mut files = Vec::new();
    for day in 1..4u64 {
        for n in 0..20u64 {
            let size = 1_000_000 + (day * 7919 + n * 104_729) * 2_654_435 % 4_000_000;
            files.push((format!("2024-05-0{day}/IMG_{n:03}.jpg"), size));
        }
    }
    let paths: Vec<String> = files.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(packed(&files, None), paths);
    assert_eq!(packed(&files, Some(Order::Versions)), paths);
}

#[test]
fn the_order_of_paths_is_the_default_of_a_tree_without_versions() {
    let names = ["b.c", "a.h", "src/z.c", "src/a-10.c", "src/a-9.c", "doc/z.txt"];
    let files = names.map(|name| (name.to_owned(), 1000 + name.len() as u64 * 700));
    let by_path = ["a.h", "b.c", "doc/z.txt", "src/a-10.c", "src/a-9.c", "src/z.c"];
    assert_eq!(packed(&files, None), by_path);
    assert_eq!(packed(&files, Some(Order::Path)), by_path);
    assert_eq!(
        packed(&packages(&["v1", "v2"]), Some(Order::Path))[..2],
        ["v1/code.py", "v1/text.md"]
    );
}

#[test]
fn every_file_is_packed_once() {
    let mut files = packages(&["a/1", "a/2", "b", "c/x/1.0", "c/x/1.1", "d-1/d-1", "d-2/d-2"]);
    files.push(("lonely".to_owned(), 0));
    let mut by_path = packed(&files, Some(Order::Path));
    by_path.sort();
    for order in [None, Some(Order::Versions), Some(Order::Similarity)] {
        let mut paths = packed(&files, order);
        paths.sort();
        assert_eq!(paths, by_path);
    }
}

#[test]
fn similarity_sorts_by_kind_but_not_far() {
    let big = WINDOW / 2;
    let files: Vec<_> = ["a/1.c", "a/2.h", "b/1.c", "b/2.h"]
        .map(|name| (name.to_owned(), if name.starts_with('b') { big } else { 10 }))
        .into();
    assert_eq!(packed(&files, Some(Order::Similarity)), ["a/1.c", "b/1.c", "a/2.h", "b/2.h"]);
    let files: Vec<_> = files.into_iter().map(|(path, size)| (path, size + big)).collect();
    assert_eq!(packed(&files, Some(Order::Similarity)), ["a/1.c", "a/2.h", "b/1.c", "b/2.h"]);
}
