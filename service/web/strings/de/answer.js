/** The words of an answer in German. */

import { allOf, anyOf, apart, difference, number, percent } from "../../format.js";

/** @type {typeof import("../en/answer.js").text} */
export const text = {
  classes: {
    melanoma: "Melanom",
    nevus: "Nävus",
    seborrheic_keratosis: "Seborrhoische Keratose",
    basal_cell_carcinoma: "Basalzellkarzinom",
    squamous_cell_carcinoma: "Plattenepithelkarzinom",
  },
  within: (name = "") => name.replace(/^Seborrhoische /, "seborrhoische "),

  decision: {
    refer: "Überweisen",
    no_referral: (judged = "") => `Keine Überweisung${judged && ` wegen ${judged}`} empfohlen`,
    abstained: "Keine Beurteilung: Bild nicht geeignet",
    risk: (names = [""]) => `Risiko für ${allOf(names)}`,
    because: (names = [""], share = 0, threshold = 0, refer = false) => {
      const [shown, limit] = apart(share, threshold);
      return `Risiko für ${allOf(names)} ${shown}, ${refer ? "an oder über" : "unter"} der Entscheidungsschwelle von ${limit}.`;
    },
    threshold: (share = "") => `Entscheidungsschwelle ${share}`,
    notRuledOut: {
      no_referral: () => "Nicht ausgeschlossen: im Zweifel überweisen.",
      abstained: (names) => `Nichts wurde beurteilt; ${anyOf(names)} ist nicht ausgeschlossen.`,
    },
    ownMix: (names = "", share = "") => `Kalibriert für einen Anteil von ${share} ${names}. Bei weniger: kleineres Risiko, gleicher Rat.`,
    clinic: (names = "", share = "") => `Für Ihre Praxis mit einem Anteil von ${share} ${names}.`,
    noMix: "Das Modell sagt nicht, für welche Patientengruppe dieses Risiko gilt.",
    setClinic: "Anteil in Ihrer Praxis angeben",
    change: "Ändern",
    caution: "Mit Vorsicht beurteilen",
    also: "Außerdem",
    abstainedBecause: "Warum nicht",
    abstainedWhatNext: "Nehmen Sie ein neues Bild auf oder beurteilen Sie die Läsion ohne diese Software.",
    reasons: {
      no_lesion_found: "Es wurde keine Läsion gefunden; sie gehört in die Bildmitte.",
      lesion_touches_border: "Die Läsion reicht an den Bildrand; nehmen Sie sie ganz auf.",
      several_lesions: "Wohl mehrere Läsionen, zusammen beurteilt; nehmen Sie jede einzeln auf.",
      branches_disagree: "Die Hälften des Modells nennen verschiedene Diagnosen; folgen Sie Ihrem Urteil.",
      not_sure: "In der Mischung des Modells ist keine bekannte Diagnose wahrscheinlich genug: Überweisung auch unter der Schwelle.",
      near_threshold: "Das Risiko liegt nahe an der Schwelle: Ein zweites Bild kann die Empfehlung ändern.",
      near_not_sure: "Das Modell ist hier unsicher: Ein zweites Bild kann die Empfehlung ändern.",
      small_picture: "Das Bild hat weniger Bildpunkte, als das Modell braucht; senden Sie das Original.",
      burned_in_annotation: "Die Datei gibt an, dass im Bild Schrift steht; sie kann das Modell irreführen und den Patienten nennen.",
      recognizable_features: "Die Datei gibt an, dass die Person auf dem Bild erkennbar ist. Zeigen Sie nur die Läsion.",
      not_dermoscopy: "Anders als die dermatoskopischen Bilder, aus denen das Modell gelernt hat. Mit Dermatoskop aufgenommen?",
      blurred: "Das Bild ist unscharf; stellen Sie scharf und wiederholen Sie die Aufnahme.",
      too_dark: "Das Bild ist zu dunkel; nehmen Sie mehr Licht.",
      too_bright: "Das Bild ist zu hell; nehmen Sie weniger Licht oder Druck.",
      no_colour: "Das Bild hat keine Farben; nehmen Sie es in Farbe auf.",
      tiny_lesion: "Die Läsion ist im Bild sehr klein; gehen Sie näher heran.",
    },
  },

  limits: {
    unknown: "Erkennt nicht",
    unknownMeans: (others = [""], known = [""]) => `${anyOf(["klinische Fotos", ...others, "andere Diagnosen"])}. Es kennt ${allOf(known)}.`,
    testing: "Im Test",
    notMeasured: "Nicht getestet: wie viele bösartige Läsionen es übersieht, wurde nicht gemessen.",
  },

  performance: {
    title: "Wie gut es war",
    cases: (names) => (names.join() === "melanoma" ? "Melanomen" : "bösartigen Läsionen"),
    said: (cases = "", missed = 0, referred = 0) => `Übersah ${missed < 1 ? "weniger als 1" : missed} von 100 ${cases}, überwies ${referred < 1 ? "weniger als 1" : referred} von 100 harmlosen Läsionen.`,
    expectMore: "Anderswo dürfte es mehr übersehen.",
    sensitivity: "Sensitivität",
    specificity: "Spezifität",
    sensitivityMeans: "der bösartigen Läsionen wurden überwiesen",
    specificityMeans: "der harmlosen Läsionen wurden es nicht",
    interval: (low = 0, high = 0) => `95-%-Intervall ${percent(low)} bis ${percent(high)}`,
    measured: (where = "") => `Gemessen an ${where}.`,
    chosen: (where = "") => `Die Schwelle wurde an ${where} gewählt.`,
    repeatability: "Ein zweites Bild derselben Läsion",
    repeats: (share = 0, low = 0, high = 0) => `ergab bei ${percent(share)} der Paare die andere Empfehlung (95-%-Intervall ${percent(low)} bis ${percent(high)}).`,
    changes: (median = 0, most = 0, where = "") => `In der Mischung des Modells änderte sich das Risiko bei der Hälfte um bis zu ${number(median * 100)} Prozentpunkte, bei 95 von 100 um bis zu ${number(most * 100)} (${where}).`,
  },

  clinic: {
    title: "Ihre Praxis",
    prevalence: (names = "") => `Anteil von ${names} an Ihren Läsionen`,
    own: "Mischung des Modells verwenden",
    point: "Arbeitspunkt",
    points: { balanced: "Ausgewogen", "high-sensitivity": "Hohe Sensitivität", dermatologist: "Wie Dermatologen" },
    remembered: "Bleibt in diesem Browser, für jede Antwort.",
    values: "Prädiktive Werte in Ihrer Praxis",
    positive: (names = [""]) => `Von den überwiesenen Läsionen ${anyOf(names)} (PPV)`,
    negative: (names = [""]) => `Von den nicht überwiesenen kein ${anyOf(names)} (NPV)`,
    ends: "In Klammern: mit Sensitivität und Spezifität an beiden Enden ihrer Intervalle.",
    none: "Hier wird jede Läsion überwiesen oder keine: ein Wert bedeutet nichts.",
    at: (share = "") => `Wo ${share} der Läsionen bösartig sind.`,
    invalid: "Geben Sie eine Zahl von 0,1 bis 99 ein.",
  },

  probabilities: {
    title: "Wahrscheinlichkeiten nach Diagnose",
    caption: "Kalibrierte Wahrscheinlichkeiten, bösartige Diagnosen zuerst",
    warning: "Entscheiden Sie nicht nach der wahrscheinlichsten Diagnose: wo bösartige Läsionen selten sind, ist fast immer eine andere wahrscheinlicher.",
    class: "Diagnose",
    mean: "Mittel",
    branch: "Zweig",
    malignant: "bösartig",
    unknown: (name = "") => `${name} (ob bösartig, ist offen)`,
    sum: "Alle bösartigen Diagnosen",
    mix: (shares = [""]) => `Mischung des Modells: ${allOf(shares)}.`,
  },

  quality: {
    title: "Bildqualität",
    image: "Dieses Bild",
    limit: "Grenze",
    rows: {
      sharpness: "Schärfe",
      dark_share: "Dunkle Bildpunkte",
      bright_share: "Fast weiße Bildpunkte",
      unfamiliarity: "Abstand von den Trainingsbildern (1 ist üblich)",
    },
    least: (value = "") => `mindestens ${value}`,
    most: (value = "") => `höchstens ${value}`,
  },

  done: {
    title: "Was mit dem Bild geschah",
    read: (format = "", width = 0, height = 0) => `Gelesen als ${format}, ${width} × ${height} Bildpunkte, aufrecht gedreht.`,
    notes: {
      profile_ignored: "Farbprofil nicht beachtet.",
      cmyk_without_profile: "Druckfarben (CMYK) ohne Profil; die Farben können abweichen.",
    },
    squashed: (size = 0, quality) => `Auf ${size} × ${size} Bildpunkte gestaucht${quality ? ` und komprimiert (JPEG, Qualität ${quality})` : ""}; Feineres geht verloren.`,
    kept: (size = 0) => `Es hat bereits die nötigen ${size} × ${size} Bildpunkte.`,
    cropped: (share = 0) => `Zugeschnitten auf ${percent(share)} des Bildes.`,
    lesion: (share = 0) => `Die Läsion bedeckt ${percent(share)} des Bildes.`,
    noLesion: "Es wurde keine Läsion gefunden; verwendet wurde das ganze Bild.",
  },

  model: {
    title: "Modell",
    name: "Name und Version",
    runs: "Läuft als",
    digest: "Prüfsumme (SHA-256)",
    answered: "Beantwortet",
    expires: "Im Dienst gelöscht",
    card: "Modellkarte lesen (auf Englisch)",
    id: "Kennung der Antwort",
  },

  record: {
    title: "Für die Akte",
    reference: "Referenz",
    site: "Körperstelle",
    why: "Wird gedruckt und kopiert, nie gesendet oder gespeichert. Keine Patientennamen.",
    copy: "Für die Akte kopieren",
    copied: "Kopiert.",
    print: "Drucken oder PDF",
    image: "Bild",
    reader: "Befundet von",
    signature: "Datum und Unterschrift",
  },

  details: "Einzelheiten",

  impression: {
    title: "Zuerst Ihr Eindruck",
    question: "Was würden Sie mit dieser Läsion tun?",
    choices: { refer: "Überweisen", no_referral: "Nicht überweisen", unsure: "Unsicher" },
    show: "Antwort zeigen",
    yours: (choice = "") => `Ihr Eindruck vor der Antwort: ${choice.toLowerCase()}.`,
    agreement: (same = 0, of = 0) => `Übereinstimmung in dieser Sitzung: ${same} von ${of}.`,
  },

  compare: {
    title: "Zwei Bilder nebeneinander",
    leave: "Zurück zu einem Bild",
    map: "Karte auf beiden",
    caption: "Wahrscheinlichkeiten beider Bilder und ihr Unterschied, B minus A",
    points: (shares = 0) => `${difference(shares)} PP`,
    abstained: "keine Beurteilung",
    linked: "Zoom und Lage sind gekoppelt.",
    noScale: "Der Maßstab beider Bilder ist nicht bekannt: Dass eine Läsion größer aussieht, sagt nichts über Wachstum.",
    scales: "Jedes Bild hat seinen eigenen Maßstab: Vergleichen Sie die Größen, nicht den Anblick.",
    noDifference: "Ein Bild ohne Beurteilung hat keinen Unterschied zu zeigen.",
    models: "Die beiden Antworten stammen von verschiedenen Modellen; ihre Wahrscheinlichkeiten sind nicht vergleichbar.",
  },
};
