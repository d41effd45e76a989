//! Everything that is written, laid over everything else.

use std::ffi::c_void;
use std::ptr::null_mut;

use sparsecode_runtime::capi::{self, *};

use crate::api::{Api, Arguments, Program, samples};
use crate::float::{Float, LINEAR, float_file};
use crate::integer::Integer;

use sparsecode_status as Status;

/// All that a program hands in, in one piece of memory: a model's file and 1 kB for each argument.
struct Arena {
    start: *mut u8,
    bytes: usize,
    file_bytes: usize,
}

impl Arena {
    const SLOT: usize = 2048;

    fn new(file: &[u8]) -> Self {
        let words = (8 * Self::SLOT + file.len()).div_ceil(8);
        let memory = Box::leak(vec![0_u64; words].into_boxed_slice());
        let arena = Self {
            start: memory.as_mut_ptr().cast(),
            bytes: 8 * words,
            file_bytes: file.len(),
        };
        // SAFETY: as long as the memory behind the eight slots.
        unsafe { arena.file().copy_from(file.as_ptr(), file.len()) };
        arena
    }

    fn slot<T>(&self, number: usize) -> *mut T {
        self.start.wrapping_add(number * Self::SLOT).cast()
    }

    fn file(&self) -> *mut u8 {
        self.slot(8)
    }

    fn last_words_of_the_file(&self) -> *mut c_void {
        let offset = (self.file_bytes - 32) / 8 * 8;
        self.file().wrapping_add(offset).cast()
    }

    fn contents(&self) -> Vec<u8> {
        // SAFETY: the memory, to which there is no other reference.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }.to_vec()
    }

    /// Asks that a call finds the overlap and changes nothing.
    fn refuses(&self, call: &dyn Fn() -> Status, what: &str) {
        let before = self.contents();
        assert_eq!(call(), Status::Overlap, "{what}");
        assert!(self.contents() == before, "{what} was written");
    }

    /// The same with a value at `place`, which then becomes what it was.
    fn refuses_with<T>(&self, value: T, place: *mut c_void, call: &dyn Fn(*mut T), what: &str) {
        let before = self.contents();
        // SAFETY: aligned places within the memory.
        unsafe { place.cast::<T>().write(value) };
        call(place.cast());
        // SAFETY: as long as the memory.
        unsafe { self.start.copy_from(before.as_ptr(), self.bytes) };
        assert!(self.contents() == before, "{what}");
    }
}

/// What both halves of the API are asked alike.
struct Laid<A: Api> {
    arena: Arena,
    arguments: Arguments<A>,
    /// What the arena holds, by name: first the model's handle, its end, and its file.
    everything: Vec<(&'static str, *mut c_void)>,
    /// The code's header.
    header: A::Code,
}

impl<A: Api> Laid<A> {
    fn new() -> Self {
        let arena = Arena::new(A::file());
        let slots = 2..2 + A::ARRAYS.len();
        let arrays: Vec<*mut c_void> = slots.map(|number| arena.slot(number)).collect();
        let header = A::code(&arrays, 13, 0);
        let (model, code) = (arena.slot::<A::Model>(0), arena.slot::<A::Code>(6));
        let settings = arena.slot::<A::Settings>(5);
        let arguments = Arguments::<A> {
            model,
            patch: arena.slot(1),
            length: 21,
            code,
            settings,
            workspace: arena.slot(4),
            bytes: Arena::SLOT,
            refinement: null_mut(),
        };
        // SAFETY: aligned places within the arena, and a file as long as it is said to be.
        let loaded = unsafe { A::LOAD(model, arena.file().cast(), arena.file_bytes) };
        assert_eq!(loaded, Status::Ok);
        assert_eq!(arguments.settings_for_model(settings), Status::Ok);
        // SAFETY: aligned places within the arena.
        unsafe { code.write(header) };

        let handle_end = model.wrapping_add(1).wrapping_byte_sub(8);
        let mut everything: Vec<(&str, *mut c_void)> = vec![
            ("handle", model.cast()),
            ("end of the handle", handle_end.cast()),
            ("file", arena.last_words_of_the_file()),
            ("patch", arguments.patch.cast()),
        ];
        everything.extend(A::ARRAYS.iter().map(|(name, _)| *name).zip(arrays));
        everything.extend([
            ("workspace", arguments.workspace),
            ("settings", settings.cast()),
            ("code", code.cast()),
        ]);
        Self {
            arena,
            arguments,
            everything,
            header,
        }
    }

    /// The model's handle, its end, and its file.
    fn model(&self) -> &[(&'static str, *mut c_void)] {
        &self.everything[..3]
    }

    fn place(&self, name: &str) -> *mut c_void {
        let found = self.everything.iter().find(|(what, _)| *what == name);
        found.unwrap().1
    }

    fn refuses_what_overlaps(&self) {
        let (arena, arguments) = (&self.arena, self.arguments);
        for &(what, place) in &self.everything {
            let over = Arguments {
                refinement: place.cast(),
                ..arguments
            };
            arena.refuses(&|| over.refine(), what);
            arena.refuses(&|| over.denoise(), what);
        }
        for &(what, place) in &self.everything[..4] {
            arena.refuses(&|| arguments.preprocess(place.cast()), what);
        }
        for &(what, place) in self.model() {
            arena.refuses(&|| arguments.settings_for_model(place.cast()), what);
            arena.refuses(&|| arguments.get_info(place.cast()), what);
        }
        // A patch over what is only read.
        assert_eq!(arguments.restore(arena.slot(7)), Status::Ok);
        arena.refuses(
            &|| arguments.restore(arguments.patch.cast()),
            "normalisation",
        );
        assert_eq!(arguments.decode(), Status::Ok);

        // The code's header, which is written, over the rest.
        let arrays = A::ARRAYS.iter().map(|(name, _)| *name);
        for what in ["patch", "workspace", "file", "settings"]
            .into_iter()
            .chain(arrays)
        {
            let mut place = self.place(what);
            if what == "settings" {
                // What nothing looks at.
                place = place.wrapping_byte_add(A::CONTEXT);
            }
            let calls = |code| {
                let over = Arguments { code, ..arguments };
                arena.refuses(&|| over.refine(), what);
                arena.refuses(&|| over.denoise(), what);
                if what != "settings" {
                    arena.refuses(&|| over.encode(), what);
                }
                if what == "patch" || what == "workspace" {
                    arena.refuses(&|| over.decode(), what);
                }
            };
            arena.refuses_with(self.header, place, &calls, what);
        }
    }
}

#[test]
fn what_is_written_overlaps_nothing_else() {
    let laid = Laid::<Float>::new();
    laid.refuses_what_overlaps();
    let model = laid.arguments.model;
    for &(what, place) in laid.model() {
        let settings = || call!(sparsecode_settings_for_noise(model, 0.1, place.cast()));
        laid.arena.refuses(&settings, what);
    }
}

#[test]
fn what_is_written_in_integers_overlaps_nothing_else() {
    let laid = Laid::<Integer>::new();
    laid.refuses_what_overlaps();
    let (arena, model, code) = (&laid.arena, laid.arguments.model, laid.arguments.code);
    let result = arena.slot::<u16>(3);
    let scale = result.cast::<f32>();
    let scales = |input, code| call!(sparsecode_integer_model_get_scales(model, input, code));
    for &(what, place) in laid.model() {
        arena.refuses(&|| scales(place.cast(), scale), what);
        arena.refuses(&|| scales(scale, place.cast()), what);
    }
    arena.refuses(&|| scales(scale, scale), "scales");

    // The code's header over its entries.
    let push = |code| call!(sparsecode_integer_code_push(code, 3, 7));
    let entries = laid.place("entries");
    let calls = |code| arena.refuses(&|| push(code), "entries");
    arena.refuses_with(laid.header, entries, &calls, "entries");

    // A component over the code.
    assert_eq!(push(code), Status::Ok);
    let get = |index: *mut u16, level: *mut i16| {
        call!(sparsecode_integer_code_get(code, 0, index, level))
    };
    arena.refuses(&|| get(result, result.cast()), "component");
    for (what, place) in [("code", code.cast::<u16>()), ("entries", entries.cast())] {
        arena.refuses(&|| get(place, result.cast()), what);
        arena.refuses(&|| get(result, place.cast()), what);
    }
}

/// A workspace or an array in the model's file would change the model.
#[test]
fn the_file_is_not_written() {
    let bytes = float_file(LINEAR);
    let mut c = Program::<Float>::new(bytes);
    let (workspace, size) = (c.workspace(), c.workspace_bytes);
    let mut patch = samples(21, 1);
    let (model, start) = (&raw const c.model, patch.as_mut_ptr());
    let inside = bytes[bytes.len() - 1 - size..].as_ptr();
    let inside = inside.wrapping_sub(inside.addr() % 4).cast_mut();
    let code = &raw mut c.code;
    let within = inside.cast();
    assert_eq!(
        call!(sparsecode_encode(model, start, 21, code, within, size)),
        Status::Overlap
    );
    let mut in_file = c.code;
    in_file.values = inside.cast();
    assert_eq!(
        call!(sparsecode_encode(
            model,
            start,
            21,
            &raw mut in_file,
            workspace,
            size
        )),
        Status::Overlap
    );
    let mut normalisation = sparsecode_normalisation {
        mean: 0.0,
        deviation: 1.0,
    };
    assert_eq!(
        call!(sparsecode_preprocess(
            model,
            inside.cast(),
            21,
            &raw mut normalisation
        )),
        Status::Overlap
    );
    // Its own handle over the file.
    let handle = bytes.as_ptr().wrapping_add(bytes.as_ptr().align_offset(8));
    assert_eq!(
        call!(sparsecode_model_load(
            handle.cast_mut().cast(),
            bytes.as_ptr().cast(),
            bytes.len()
        )),
        Status::Overlap
    );
    done!(sparsecode_model_verify_checksum(model));
}
