//! One way to say what scratch memory an algorithm needs.

/// Three types for the same buffers: of fixed size, of a size chosen at run time (feature `std`),
/// and borrowed from either. A buffer is written once: its name, the type of its numbers, and its
/// length as a constant of the first type and an argument of the second.
macro_rules! workspace {
    (
        $(#[$fixed_doc:meta])*
        pub struct $fixed:ident<$(const $constant:ident: usize $(= $default:literal)?),*>;
        $(#[$buf_doc:meta])*
        $buf_visibility:vis struct $buf:ident($($argument:ident),*) $(with batch: [$batch:ty])?;
        $(#[$scratch_doc:meta])*
        $scratch_visibility:vis struct $scratch:ident {
            $($(#[$field_doc:meta])* $field:ident: [$number:ty; $length:ident = $count:ident] = $zero:expr,)*
        }
    ) => {
        $(#[$fixed_doc])*
        #[derive(Clone, Debug)]
        pub struct $fixed<$(const $constant: usize $(= $default)?),*> {
            $($field: [$number; $length],)*
        }

        impl<$(const $constant: usize),*> $fixed<$($constant),*> {
            /// Size in bytes.
            pub const BYTES: usize = size_of::<Self>();

            /// Zeros, also for statics (they lie in `.bss`).
            #[must_use]
            pub const fn new() -> Self {
                Self {
                    $($field: [$zero; $length],)*
                }
            }

            /// The buffers.
            #[inline]
            pub(crate) fn scratch(&mut self) -> $scratch<'_> {
                $scratch {
                    $($field: &mut self.$field,)*
                }
            }
        }

        impl<$(const $constant: usize),*> Default for $fixed<$($constant),*> {
            fn default() -> Self {
                Self::new()
            }
        }

        $(#[$buf_doc])*
        #[cfg(feature = "std")]
        #[derive(Clone, Debug, Default)]
        $buf_visibility struct $buf {
            $($field: std::vec::Vec<$number>,)*
            $(/// Sums of several patches.
            pub(crate) batch: std::vec::Vec<$batch>,)?
        }

        #[cfg(feature = "std")]
        impl $buf {
            /// Zeros, for these dimensions.
            #[must_use]
            $buf_visibility fn new($($argument: usize),*) -> Self {
                Self {
                    $($field: std::vec![$zero; $count],)*
                    $(batch: std::vec::Vec::<$batch>::new(),)?
                }
            }

            /// The buffers.
            pub(crate) fn scratch(&mut self) -> $scratch<'_> {
                $scratch {
                    $($field: &mut self.$field,)*
                }
            }
        }

        $(#[$scratch_doc])*
        #[derive(Debug)]
        $scratch_visibility struct $scratch<'w> {
            $($(#[$field_doc])* pub(crate) $field: &'w mut [$number],)*
        }
    };
}

pub(crate) use workspace;
