//! Micro-benchmarks of the paths that are walked most, in memory: no disk, no kernel.
//!
//! `cargo bench --bench hot_paths` measures all of it; after `--`, a word selects the benchmarks
//! that have it in their names, and `--quick` takes a second for each.
#![expect(clippy::unwrap_used, reason = "a bench whose sample does not work has no result")]

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use packfs::format::{
    BlockHash, Codec, Dictionary, EntryPage, ExtentPage, InodePage, Kind, PageRef, PageTable,
};
use packfs::fs::{ArchiveFs, Owner};
use packfs::index::FrameId;
use packfs::ingest::{CreateOptions, Cutter, Known, Source, create};
use packfs::monitor::Quiet;
use packfs::pack::{Compressor, Inflation, Level};
use packfs::storage::{MemoryStorage, Storage};
use packfs::store::{OpenOptions, Store};
use packfs::tar::{TarEntry, TarKind, TarWriter};
use packfs::tree::{ROOT, key};

/// Small files of the sample, all in one folder.
const FILES: usize = 2048;
/// Bytes of a small file.
const SMALL: usize = 4 << 10;
/// Bytes of the one large file.
const LARGE: usize = 24 << 20;
/// Bytes of a request that the kernel makes when a file is read in order.
const REQUEST: u32 = 128 << 10;
/// Blocks that are known already when one is looked up: those of some gigabytes.
const BLOCKS: u64 = 1 << 18;
/// Words that the text is made of.
const WORDS: usize = 4096;

/// Numbers that look random and are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    /// Text of few words: it compresses about as source code does.
    fn text(&mut self, length: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(length + 32);
        while text.len() < length {
            let word = self.below(WORDS).min(self.below(WORDS));
            text.extend(format!("{:x}{} ", word * 40_503, "_name".repeat(word % 3)).bytes());
        }
        text.truncate(length);
        text
    }
}

/// The sample as a tar: a folder `small` of many files, and a file `large`.
fn sample() -> Vec<u8> {
    let mut random = Random(0x5eed_cafe_f00d_d00d);
    let mut tar = TarWriter::new(Vec::new());
    let mut add = |path: String, kind: Kind, data: &[u8]| {
        let mut entry = TarEntry::new(path.into_bytes(), TarKind::Node(kind));
        entry.mode = if kind == Kind::Folder { 0o755 } else { 0o644 };
        entry.size = data.len() as u64;
        tar.begin(&entry).unwrap();
        tar.write_data(data).unwrap();
        tar.end().unwrap();
    };
    add("small".to_owned(), Kind::Folder, b"");
    for at in 0..FILES {
        add(format!("small/{}", name(at)), Kind::File, &random.text(SMALL));
    }
    add("large".to_owned(), Kind::File, &random.text(LARGE));
    tar.finish().unwrap()
}

fn name(at: usize) -> String {
    format!("file-{at:05}.txt")
}

/// Makes an archive of a tar, in memory.
fn archive(mut tar: &[u8], options: &CreateOptions) -> Arc<dyn Storage> {
    let storage = MemoryStorage::default();
    create(Source::Tar(&mut tar), &storage, options, &Quiet::default()).unwrap();
    Arc::new(storage)
}

fn open(storage: &Arc<dyn Storage>) -> ArchiveFs {
    let store = Store::open(Arc::clone(storage), OpenOptions::default()).unwrap();
    ArchiveFs::new(Arc::new(store), Owner::default())
}

/// The inode that a path of the sample leads to.
fn inode(fs: &ArchiveFs, path: &[&str]) -> u64 {
    let step = |folder, name: &&str| fs.lookup(folder, name.as_bytes()).unwrap().unwrap().ino;
    path.iter().fold(ROOT, step)
}

/// Reads a whole file, as the kernel does for one who reads it in order.
fn read_through(fs: &ArchiveFs, ino: u64) -> u64 {
    let mut at = 0;
    while at < LARGE as u64 {
        at += black_box(fs.read(ino, at, REQUEST).unwrap()).len() as u64;
    }
    at
}

/// A tar goes in, an archive comes out: `none` is all but compression.
fn build(criterion: &mut Criterion, tar: &[u8]) {
    let mut group = criterion.benchmark_group("build");
    group.throughput(Throughput::Bytes((FILES * SMALL + LARGE) as u64));
    group.sample_size(10);
    for (name, codec, level) in [
        ("none", Codec::None, 1),
        ("lz4", Codec::Lz4, 1),
        ("zstd-1", Codec::Zstd, 1),
        ("zstd-6", Codec::Zstd, 6),
    ] {
        let level = Level::new(level).unwrap();
        let options = CreateOptions { codec, level, ..CreateOptions::default() };
        group.bench_function(name, |bench| bench.iter(|| archive(tar, &options)));
    }
}

/// Data is cut into blocks, and these are hashed.
fn cut(criterion: &mut Criterion) {
    let data = Random(3).text(4 << 20);
    let cutting = CreateOptions::default().cutting;
    let mut group = criterion.benchmark_group("cut");
    group.throughput(Throughput::Bytes(data.len() as u64));
    for (name, hash) in [("blake3", BlockHash::Blake3), ("xxh3-128", BlockHash::Xxh3)] {
        let cutter = Cutter { cutting, hash };
        group.bench_function(name, |bench| {
            bench.iter(|| cutter.cut(&data, true, |length, name| _ = black_box((length, name))));
        });
    }
}

/// Blocks are looked up among those that are known: by names that are, and by ones that are new.
fn dedup(criterion: &mut Criterion) {
    let cutting = CreateOptions::default().cutting;
    let cutter = Cutter { cutting, hash: BlockHash::Blake3 };
    let names: Vec<_> = (0..BLOCKS).map(|at| cutter.name(&at.to_le_bytes())).collect();
    let mut known = Known::default();
    let number_all = |known: &mut Known| {
        names.iter().for_each(|name| _ = black_box(known.place(*name)));
    };
    number_all(&mut known);
    let mut random = Random(5);
    let mut group = criterion.benchmark_group("dedup");
    group.bench_function("known", |bench| {
        bench.iter(|| known.place(names[random.below(names.len())]));
    });
    group.throughput(Throughput::Elements(BLOCKS));
    group.sample_size(10);
    group.bench_function("new", |bench| {
        bench.iter_batched_ref(Known::default, number_all, BatchSize::PerIteration);
    });
}

/// One frame of 1 MiB, as a miss inflates it.
fn inflate_frame(criterion: &mut Criterion) {
    let frame = Random(7).text(1 << 20);
    let mut group = criterion.benchmark_group("inflate");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    for codec in [Codec::Lz4, Codec::Zstd] {
        let (codec, stored) =
            Compressor::new(codec, Level::default()).unwrap().compress(frame.clone(), false);
        group.bench_function(codec.name(), |bench| {
            let again = || stored.clone();
            let all = frame.len();
            let room = || Vec::with_capacity(all).into();
            let run = |stored| Inflation::new(codec, stored, room(), all, all).unwrap();
            bench.iter_batched(again, run, BatchSize::LargeInput);
        });
    }
}

/// Frames that are in the working set already, wanted by several threads at once.
fn working_set_hit(criterion: &mut Criterion, storage: &Arc<dyn Storage>) {
    let fs = open(storage);
    let frames: Vec<(FrameId, u32)> = (0..)
        .map(|frame| FrameId { segment: 0, frame })
        .map_while(|id| fs.store().index().frame(id).map(|(record, _)| (id, record.inflated)))
        .collect();
    let mut group = criterion.benchmark_group("hit");
    for threads in [1, 2, 4] {
        group.throughput(Throughput::Elements(threads as u64));
        group.bench_function(BenchmarkId::new("threads", threads), |bench| {
            bench.iter_custom(|times| at_once(threads, times, fs.store(), &frames));
        });
    }
}

/// How long `threads` threads take to want `times` frames each.
fn at_once(threads: usize, times: u64, store: &Store, frames: &[(FrameId, u32)]) -> Duration {
    let barrier = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let barrier = &barrier;
            scope.spawn(move || {
                let wanted = frames.iter().cycle().skip(thread * 5);
                barrier.wait();
                for ((id, inflated), _) in wanted.zip(0..times) {
                    black_box(store.frame(*id, *inflated, *inflated).unwrap());
                }
                barrier.wait();
            });
        }
        barrier.wait();
        let start = Instant::now();
        barrier.wait();
        start.elapsed()
    })
}

/// One page of each kind, from stored bytes to rows.
fn decode_page(criterion: &mut Criterion, storage: &Arc<dyn Storage>) {
    let fs = open(storage);
    let tree = key(&fs.store().root().1.tree.id);
    let footer = fs.store().tree().footer();
    let get = |page: &PageRef| storage.get_range(&tree, page.offset, page.length as usize).unwrap();
    let dictionaries: Vec<Vec<u8>> = std::iter::once(Vec::new())
        .chain(footer.dictionaries.iter().map(|page| Dictionary::decode(&get(page)).unwrap().0))
        .collect();
    let first = |table: &PageTable| {
        let page = table.first().unwrap();
        let rows = Throughput::Elements(u64::from(page.rows));
        (get(page), dictionaries[page.dictionary as usize].as_slice(), rows)
    };
    let mut group = criterion.benchmark_group("decode");
    let (bytes, dictionary, rows) = first(&footer.inodes);
    group.throughput(rows);
    group.bench_function("inodes", |bench| bench.iter(|| InodePage::decode(&bytes, dictionary)));
    let (bytes, dictionary, rows) = first(&footer.entry_pages);
    group.throughput(rows);
    group.bench_function("entries", |bench| bench.iter(|| EntryPage::decode(&bytes, dictionary)));
    let (bytes, dictionary, rows) = first(&footer.extents);
    group.throughput(rows);
    group.bench_function("extents", |bench| bench.iter(|| ExtentPage::decode(&bytes, dictionary)));
}

/// Names: one looked up, one that is not there, and a folder listed with what its files are.
fn names(criterion: &mut Criterion, storage: &Arc<dyn Storage>) {
    let fs = open(storage);
    let folder = inode(&fs, &["small"]);
    let names: Vec<String> = (0..FILES).map(name).collect();
    let mut random = Random(11);
    let mut group = criterion.benchmark_group("names");
    group.bench_function("lookup", |bench| {
        bench.iter(|| fs.lookup(folder, names[random.below(FILES)].as_bytes()).unwrap());
    });
    group.bench_function("lookup-absent", |bench| {
        bench.iter(|| fs.lookup(folder, b"file-00500.rs").unwrap());
    });
    group.throughput(Throughput::Elements(FILES as u64));
    group.bench_function("list", |bench| {
        bench.iter(|| fs.list(folder, 0, &mut |listed| black_box(listed.ino) > 0).unwrap());
    });
    group.bench_function("list-with-attrs", |bench| {
        let each = &mut |_: packfs::fs::Listed<'_>, attr: &_| black_box(attr) == attr;
        bench.iter(|| fs.list_with_attrs(folder, 0, each).unwrap());
    });
}

/// Data: 4 KiB here and there of what is inflated already, and a file from its start to its end.
///
/// What lies in one frame is handed on, not copied: warm reads cost the way to it, not its bytes.
fn read(criterion: &mut Criterion, storage: &Arc<dyn Storage>) {
    let fs = open(storage);
    let large = inode(&fs, &["large"]);
    let small: Vec<u64> = (0..FILES).map(|at| inode(&fs, &["small", &name(at)])).collect();
    let mut random = Random(13);
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Bytes(4096));
    group.bench_function("4k-of-large", |bench| {
        bench.iter(|| fs.read(large, 4096 * random.below(LARGE / 4096) as u64, 4096).unwrap());
    });
    group.bench_function("4k-of-small", |bench| {
        bench.iter(|| fs.read(small[random.below(FILES)], 0, 4096).unwrap());
    });
    group.throughput(Throughput::Bytes(LARGE as u64));
    group.sample_size(10);
    group.bench_function("in-order-warm", |bench| bench.iter(|| read_through(&fs, large)));
    group.bench_function("in-order-cold", |bench| {
        let cold = || open(storage);
        bench.iter_batched(cold, |fs| read_through(&fs, large), BatchSize::PerIteration);
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let tar = sample();
    let storage = archive(&tar, &CreateOptions::default());
    build(&mut criterion, &tar);
    cut(&mut criterion);
    dedup(&mut criterion);
    inflate_frame(&mut criterion);
    working_set_hit(&mut criterion, &storage);
    decode_page(&mut criterion, &storage);
    names(&mut criterion, &storage);
    read(&mut criterion, &storage);
    criterion.final_summary();
}
