//! Fields that hold one of a few words.

/// Makes an enum of words, as they are on the wire and in a column.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$choice_doc:meta])* $choice:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$choice_doc])* $choice,)+
        }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const WORDS: &'static [&'static str] = &[$($word,)+];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$choice => $word,)+
                }
            }

            /// What this word stands for; none of them if it is no word of [`Self::WORDS`].
            pub fn find(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$choice),)+
                    _ => None,
                }
            }
        }

        impl demae_fields::Shape for $name {
            fn shape() -> demae_fields::RefOrSchema {
                demae_fields::schema::words(Self::WORDS)
            }
        }

        impl demae_fields::FromNode for $name {
            fn from_node(node: demae_fields::Node<'_>) -> Option<Self> {
                Self::find(&node.one_of(Self::WORDS)?)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

pub(crate) use choices;
