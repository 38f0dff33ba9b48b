//! The words that phones put around what they quote: lower case, `%` for emoji, `@` for a name in [`NAMES`].

/// What follows `vond`.
const FOUND: &[&str] = &[
    "leuk",
    "niet leuk",
    "heel leuk",
    "erg leuk",
    "geweldig",
    "fantastisch",
    "prachtig",
    "mooi",
    "grappig",
    "hilarisch",
    "belangrijk",
    "niks",
    "stom",
];
/// Nothing follows the quotation.
const NOTHING: &[&str] = &[""];

/// Words before a quotation, and what may follow it.
///
/// Apple's Messages in English, Dutch, German, French and Spanish, in the wordings of its versions; Google's Messages.
#[rustfmt::skip]
pub(super) const FRAMES: &[(&str, &[&str])] = &[
    ("loved", NOTHING), ("liked", NOTHING), ("disliked", NOTHING), ("laughed at", NOTHING), ("emphasized", NOTHING),
    ("emphasised", NOTHING), ("questioned", NOTHING), ("reacted % to", NOTHING), ("reacted with % to", NOTHING),
    ("reacted with a sticker to", NOTHING), ("removed @ from", NOTHING), ("removed % from", NOTHING),
    ("removed a % from", NOTHING), ("% to", NOTHING), ("% removed from", NOTHING),

    ("vond", FOUND), ("vindt", FOUND), ("hield van", NOTHING), ("is dol op", NOTHING), ("lachte om", NOTHING),
    ("lacht om", NOTHING), ("moest lachen om", NOTHING), ("moest om", &["lachen"]), ("heeft gelachen om", NOTHING),
    ("benadrukte", NOTHING), ("benadrukt", NOTHING), ("legde nadruk op", NOTHING), ("legde de nadruk op", NOTHING),
    ("plaatste een uitroepteken bij", NOTHING), ("plaatste een vraagteken bij", NOTHING),
    ("plaatste vraagtekens bij", NOTHING), ("zette een vraagteken bij", NOTHING), ("zette vraagtekens bij", NOTHING),
    ("heeft een vraagteken geplaatst bij", NOTHING), ("twijfelde aan", NOTHING), ("bevroeg", NOTHING),
    ("trok", &["in twijfel"]), ("gaf @ aan", NOTHING),
    ("gaf", &["een hart", "een hartje", "een duim omhoog", "een duim omlaag", "een duimpje", "een like"]),
    ("heeft", &["leuk gevonden", "niet leuk gevonden", "geweldig gevonden", "grappig gevonden", "benadrukt",
        "in twijfel getrokken", "een hartje gegeven", "geliket"]),
    ("heeft @ gegeven aan", NOTHING), ("reageerde met % op", NOTHING), ("reageerde % op", NOTHING),
    ("heeft gereageerd met % op", NOTHING), ("heeft met % gereageerd op", NOTHING), ("heeft met % op", &["gereageerd"]),
    ("reageerde met een sticker op", NOTHING), ("gereageerd met % op", NOTHING), ("% op", NOTHING),
    ("verwijderde @ van", NOTHING), ("verwijderde @ uit", NOTHING), ("verwijderde @ bij", NOTHING),
    ("verwijderde @ op", NOTHING), ("verwijderde @ voor", NOTHING), ("verwijderde % van", NOTHING),
    ("verwijderde % uit", NOTHING), ("verwijderde % bij", NOTHING), ("verwijderde % op", NOTHING),
    ("heeft @ verwijderd van", NOTHING), ("heeft @ verwijderd uit", NOTHING), ("heeft @ verwijderd bij", NOTHING),
    ("heeft % verwijderd van", NOTHING), ("heeft % verwijderd uit", NOTHING), ("heeft % verwijderd bij", NOTHING),
    ("heeft @ van", &["verwijderd"]), ("heeft % van", &["verwijderd"]), ("% verwijderd van", NOTHING),
    ("% verwijderd uit", NOTHING), ("% verwijderd bij", NOTHING), ("@ verwijderd van", NOTHING),
    ("haalde @ weg bij", NOTHING), ("haalde % weg bij", NOTHING),

    ("liebt", NOTHING), ("mag", &["", "nicht"]), ("gefällt", NOTHING), ("lacht über", NOTHING), ("lachte über", NOTHING),
    ("betont", NOTHING), ("betonte", NOTHING), ("hinterfragt", NOTHING), ("hinterfragte", NOTHING),
    ("reagierte mit % auf", NOTHING), ("hat mit % auf", &["reagiert"]), ("% auf", NOTHING),
    ("a aimé", NOTHING), ("a adoré", NOTHING), ("n'a pas aimé", NOTHING), ("a ri de", NOTHING), ("a ri à", NOTHING),
    ("a souligné", NOTHING), ("a mis l'accent sur", NOTHING), ("a questionné", NOTHING), ("a réagi avec % à", NOTHING),
    ("% à", NOTHING),
    ("le gusta", NOTHING), ("le gustó", NOTHING), ("le encanta", NOTHING), ("le encantó", NOTHING),
    ("no le gusta", NOTHING), ("no le gustó", NOTHING), ("le dio risa", NOTHING), ("se rió de", NOTHING),
    ("exclamó por", NOTHING), ("enfatizó", NOTHING), ("destacó", NOTHING), ("dudó sobre", NOTHING),
    ("reaccionó con % a", NOTHING), ("% a", NOTHING),
];

/// The same where an emoji stands between marks that nobody types: without them `🚗 bij “De Zon”` is a sighting.
#[rustfmt::skip]
pub(super) const AFTER_MARKS: &[(&str, &[&str])] = &[
    ("%", NOTHING), ("% bij", NOTHING), ("% aan", NOTHING), ("% naar", NOTHING), ("% voor", NOTHING), ("% for", NOTHING),
    ("% zu", NOTHING), ("% pour", NOTHING), ("% en", NOTHING), ("% su", NOTHING), ("% için", NOTHING), ("% do", NOTHING),
];

/// Names of reactions.
#[rustfmt::skip]
pub(super) const NAMES: &[&str] = &[
    "a heart", "a like", "a dislike", "a laugh", "an exclamation", "an exclamation mark", "an exclamation point",
    "a question mark", "a reaction", "an emoji", "a sticker", "a thumbs up", "a thumbs down",
    "een hart", "een hartje", "een like", "een dislike", "een duim omhoog", "een duim omlaag", "een duimpje",
    "een duimpje omhoog", "een duimpje omlaag", "een vind-ik-leuk", "een vind ik leuk", "een vind-ik-niet-leuk",
    "een lach", "een haha", "een uitroepteken", "een vraagteken", "een reactie", "de reactie", "een emoji",
];

/// Reactions to what cannot be quoted. The link in a message shows as a picture.
#[rustfmt::skip]
pub(super) const WHOLE: &[&str] = &[
    "loved an image", "liked an image", "disliked an image", "laughed at an image", "emphasized an image",
    "questioned an image", "loved a photo", "liked a photo", "disliked a photo", "laughed at a photo", "emphasized a photo",
    "questioned a photo", "loved a link", "liked a link", "disliked a link", "laughed at a link", "emphasized a link",
    "questioned a link", "loved an attachment", "liked an attachment", "disliked an attachment", "laughed at an attachment",
    "emphasized an attachment", "questioned an attachment", "reacted % to an image", "reacted % to a photo",
    "reacted % to a link", "reacted % to your message", "reacted % to a message",
    "vond een afbeelding leuk", "vond een foto leuk", "vond een link leuk", "vond een bijlage leuk",
    "vond een afbeelding geweldig", "vond een foto geweldig", "vond een link geweldig",
    "reageerde met % op je bericht", "reageerde met % op uw bericht", "reageerde met % op een bericht",
    "reageerde met % op een afbeelding", "reageerde met % op een foto",
];
