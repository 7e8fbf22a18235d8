//! The macro that makes types, rows and the resolving of settings of the table.

macro_rules! table {
    (
        $(flags($scope:ident) {$(
            #[doc = $help:literal]
            $(#[doc = $doc:literal])*
            $key:ident: $type:ty = $kind:ty {
                flag: $flag:literal,
                variable: $variable:expr,
                default: $shown:expr $(=> $default:expr)?,
                $(more: $more:literal,)?
            }
        )*})*
        file {$(
            #[doc = $file_help:literal]
            $(#[doc = $file_doc:literal])*
            $file_key:ident: $file_type:ty = $file_kind:ty {
                default: $file_shown:literal => $file_default:expr,
                $(more: $file_more:literal,)?
            }
        )*}
        tables {$(
            $(#[doc = $table_doc:literal])*
            $table:ident: $table_type:ty {$(
                #[doc = $inner_help:literal]
                $inner_key:literal {
                    default: $inner_shown:literal,
                    example: $inner_example:literal,
                    quoted: $inner_quoted:literal,
                    write: $inner_write:expr,
                    $(more: $inner_more:literal,)?
                }
            )*}
        )*}
    ) => {
        /// The settings of one instance. Paths are absolute; those of its folders have no symbolic link
        /// in them.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings {
            $($(
                #[doc = $help]
                $(#[doc = $doc])*
                pub $key: $type,
            )*)*
            $(
                #[doc = $file_help]
                $(#[doc = $file_doc])*
                pub $file_key: $file_type,
            )*
            $(
                $(#[doc = $table_doc])*
                pub $table: $table_type,
            )*
        }

        /// The texts of flags. A text is read, and a path made absolute, when settings are resolved.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Overrides {
            $($(
                #[doc = $help]
                pub $key: Option<OsString>,
            )*)*
        }

        impl Overrides {
            /// These flags, and of another set the ones that are not among them.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self { $($($key: self.$key.or(other.$key),)*)* }
            }
        }

        /// Content of the configuration file.
        #[derive(Default, serde::Deserialize)]
        #[cfg_attr(test, derive(Debug, PartialEq, Eq))]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct File {
            $($(pub(super) $key: Option<Written<$kind>>,)*)*
            $(pub(super) $file_key: Option<Written<$file_kind>>,)*
            $(pub(super) $table: $table_type,)*
        }

        /// All settings, in the order in which they are told.
        pub const TABLE: &[Row] = &[
            $($(Row {
                key: stringify!($key),
                flag: Some(Flag {
                    name: $flag,
                    variable: $variable,
                    value_name: <$kind as FlagKind>::NAME,
                    is_path: <$kind as FlagKind>::IS_PATH,
                    scope: Scope::$scope,
                    given: |flags| flags.$key.as_deref(),
                    give: |flags, text| flags.$key = Some(text),
                }),
                help: $help.trim_ascii(),
                default: $shown,
                example: <$kind as Kind>::EXAMPLE,
                more: optional!($($more)?),
                is_quoted: <$kind as Kind>::IS_QUOTED,
                write: |settings| <$kind as Kind>::write(&settings.$key),
            },)*)*
            $(Row {
                key: stringify!($file_key),
                flag: None,
                help: $file_help.trim_ascii(),
                default: $file_shown,
                example: <$file_kind as Kind>::EXAMPLE,
                more: optional!($($file_more)?),
                is_quoted: <$file_kind as Kind>::IS_QUOTED,
                write: |settings| <$file_kind as Kind>::write(&settings.$file_key),
            },)*
            $($(Row {
                key: $inner_key,
                flag: None,
                help: $inner_help.trim_ascii(),
                default: $inner_shown,
                example: $inner_example,
                more: optional!($($inner_more)?),
                is_quoted: $inner_quoted,
                write: |settings| { let write: fn(&$table_type) -> _ = $inner_write; write(&settings.$table) },
            },)*)*
        ];

        impl Settings {
            /// The settings that are in force: for each the flag, or else the variable, or else the
            /// file's value, or else the default.
            pub(super) fn of(
                flags: Overrides,
                variables: &Variables,
                file: File,
            ) -> Result<Self, SettingsError> {
                $($(
                    let said = flag_or_variable::<$kind>(($flag, flags.$key), ($variable, variables))?;
                    let said = match said.or(file.$key.map(|written| written.0)) {
                        Some(said) => said,
                        None => default!($kind, $flag, $shown $(, $default)?),
                    };
                    let $key = <$kind as Kind>::settle(said, variables)?;
                )*)*
                $(
                    let said = file.$file_key.map_or_else(|| $file_default, |written| written.0);
                    let $file_key = <$file_kind as Kind>::settle(said, variables)?;
                )*
                $(let $table = file.$table.settle(variables);)*
                Ok(Self { $($($key,)*)* $($file_key,)* $($table,)* })
            }
        }
    };
}

macro_rules! optional {
    () => {
        None
    };
    ($value:literal) => {
        Some($value)
    };
}

/// The default of a setting: read from its text, or computed.
macro_rules! default {
    ($kind:ty, $flag:literal, $text:expr) => {
        read::<$kind>($flag, OsStr::new($text))?
    };
    ($kind:ty, $flag:literal, $text:expr, $value:expr) => {
        $value
    };
}
