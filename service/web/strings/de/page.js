/** The words around an answer in German. */

import { allOf, number, percent, wholePercent } from "../../format.js";

/** @import { Peak } from "../../types.js" */

const maps = { lesion: "Läsion", spatial: "Räumlich", correlation: "Korrelation" };
const named = { lesion: "Läsions-Aufmerksamkeit", spatial: "Räumliche Aufmerksamkeit", correlation: "Korrelations-Aufmerksamkeit" };
const branches = { mean: "beide Zweige", 1: "Zweig 1", 2: "Zweig 2" };

const sides = { upper_left: "oben links ", top: "oben ", upper_right: "oben rechts ", left: "links ", middle: "", right: "rechts ", lower_left: "unten links ", bottom: "unten ", lower_right: "unten rechts " };

/** "oben links am Rand der Läsion" @param {Peak} peak */
function peakAt({ lesion, place }) {
  if (lesion === "outside") return `${sides[place]}außerhalb der Läsion`;
  if (lesion === "edge") return `${sides[place]}am Rand der Läsion`;
  return `${sides[place] || "mitten "}${lesion ? "in der Läsion" : "im Ausschnitt"}`;
}

/** @type {typeof import("../en/page.js").text} */
export const text = {
  skip: "Zum Bild springen",
  purpose: "Melanomrisiko aus einem dermatoskopischen Bild.",
  research: "Forschungssoftware, kein Medizinprodukt.",
  statement: "Nicht für Diagnose, Triage oder Therapieentscheidungen. Die Karten beweisen nicht, dass eine Antwort stimmt.",
  language: "Sprache",
  cancel: "Abbrechen",

  tools: { label: "Werkzeuge", new: "Neues Bild", list: "Liste", compare: "Vergleichen", print: "Drucken", time: "Verlauf", theme: "Hell oder dunkel" },

  start: {
    title: "Dermatoskopische Bilder hier ablegen",
    touch: "Dermatoskopische Bilder aufnehmen oder auswählen",
    ways: "oder aus der Zwischenablage einfügen; auch mehrere oder einen Ordner",
    choose: "Bilder auswählen",
    folder: "Ordner auswählen",
    take: "Foto aufnehmen",
    attach: "Setzen Sie zuerst das Dermatoskop auf die Kamera. Eine Läsion, scharf, etwa ein Drittel des Bildes.",
    formats: "JPEG, PNG, WebP, TIFF, BMP, AVIF oder DICOM. Nur an diesen Dienst gesendet; Dateien und ihre Namen werden nicht gespeichert.",
    examples: "Oder ein Beispiel versuchen",
    impression: "Zuerst nach meinem Eindruck fragen",
  },
  examples: {
    melanoma: { title: "Dunkle, unregelmäßige Läsion", known: "Bekannt: Melanom. Das Modell hat auch daraus gelernt." },
    nevus: { title: "Rote und braune Läsion", known: "Bekannt: Nävus. Nicht im Training verwendet." },
  },

  picture: (count) => `Bild ${count}`,
  example: (count = 0) => `Bild ${count}, ein Beispiel`,

  progress: {
    sending: (share = 0) => `Wird gesendet, ${wholePercent(share)}`,
    waiting: "Das Bild wird gelesen",
    queued: "Wartet",
    retry: (seconds = 0) => `Der Dienst ist ausgelastet; neuer Versuch in ${seconds} s`,
    slow: "Die Verbindung ist langsam.",
    shrink: "Kleinere Kopie senden",
  },

  problem: {
    again: "Noch einmal versuchen",
    another: "Anderes Bild auswählen",
    kept: "Ihr Bild ist noch hier.",
    wait: (seconds = 0) => `Der Dienst bittet, ${seconds} ${seconds === 1 ? "Sekunde" : "Sekunden"} zu warten.`,
    says: "Der Dienst sagt:",
    kinds: {
      "malformed-request": { title: "Das ließ sich nicht als Bild senden", detail: true },
      conflict: { title: "Das Bild muss neu gesendet werden", detail: true },
      "too-large": { title: "Das Bild ist zu groß", text: "Senden Sie eine kleinere Kopie:", detail: true },
      "unsupported-type": { title: "Das ist kein Bild, das der Dienst liest", text: "Es zählt der Inhalt, nicht der Name:", detail: true },
      "undecodable-picture": { title: "Das Bild ist nicht lesbar", detail: true },
      unauthorized: { title: "Der Dienst verlangt einen Zugangsschlüssel", text: "Fragen Sie den Betreiber." },
      "queue-full": { title: "Der Dienst ist ausgelastet", text: "Er liest so viele Bilder, wie er kann." },
      "rate-limited": { title: "Zu viele Bilder in kurzer Zeit", text: "Ihr Zugang erlaubt im Moment nicht mehr." },
      "not-ready": { title: "Der Dienst ist nicht bereit", text: "Er startet, endet oder hat seinen Selbsttest nicht bestanden." },
      "insufficient-storage": { title: "Der Dienst hat keinen Platz für eine Antwort", text: "Der Betreiber muss Platz schaffen." },
      "request-timeout": { title: "Das Senden dauerte zu lange", text: "Die Verbindung war zu langsam für den Dienst." },
      "deadline-exceeded": { title: "Keine Antwort in der vorgesehenen Zeit", text: "Der Dienst brauchte zu lange." },
      stalled: { title: "Das Senden kam zum Stillstand", text: "Eine halbe Minute lang wurde nichts gesendet." },
      unreachable: { title: "Der Dienst ist nicht erreichbar", text: "Die Verbindung ist unterbrochen, oder er läuft nicht." },
      "not-found": { title: "Der Dienst hat diese Antwort nicht mehr", text: "Antworten verfallen. Senden Sie das Bild neu." },
      changed: { title: "Das Modell wurde gerade gewechselt", text: "Senden Sie das Bild neu." },
      unknown: { title: "Der Dienst hat versagt", text: "Versuchen Sie es noch einmal; hilft das nicht, sagen Sie es dem Betreiber." },
    },
  },

  session: {
    title: "Diese Sitzung (nicht gespeichert)",
    summary: (refer = 0, none = 0, below = 0, failed = 0, open = 0) =>
      [
        refer && `${refer} überweisen`,
        none && `${none} ohne Beurteilung`,
        failed && `${failed} fehlgeschlagen`,
        below && `${below} ohne Überweisung`,
        open && `${open} ausstehend`,
      ].filter(Boolean).join(", "),
    abstained: "Keine Beurteilung",
    covered: "Antwort verdeckt",
    failed: "Fehler",
    retry: (name = "") => `${name} noch einmal versuchen`,
    retryAll: "Alle fehlgeschlagenen noch einmal",
    deleteAll: "Alle löschen",
    all: (count = 0) => `Alle ${count}`,
    why: "Bleibt in diesem Tab, bis er geschlossen wird. Überweisungen nach Risiko, dann Bilder ohne Beurteilung.",
    remove: (name = "") => `${name} löschen`,
    deleted: (name = "") => `${name} gelöscht.`,
    undo: "Rückgängig",
    deletedEverywhere: (name = "") => `${name} hier und im Dienst gelöscht.`,
    deletedHere: (name = "") => `${name} hier gelöscht. Der Dienst hat es nicht bestätigt; dort verfällt es von selbst.`,
    stays: (name = "") => `${name} ist nicht mehr auf dieser Liste. Was im Verlauf festgehalten ist, bleibt.`,
    restored: (name = "") => `${name} wieder da.`,
    full: (most = 0, left = 0) => `Mehr als ${most} Bilder gehen nicht zugleich: ${left} nicht übernommen. Löschen Sie erst einige.`,
  },

  viewer: {
    label: "Bildbetrachter",
    zoom: "Vergrößerung",
    in: "Vergrößern",
    out: "Verkleinern",
    fit: "Einpassen",
    native: "Echte Bildpunkte",
    turn: "Drehen",
    full: "Ganzer Bildschirm",
    light: "Helligkeit und Kontrast",
    lightMeans: "Nur der Anzeige; die Antwort bleibt.",
    brightness: "Helligkeit",
    contrast: "Kontrast",
    keys: "Tasten im Betrachter",
    keyList: [
      ["Pfeiltasten", "Bild verschieben"],
      ["O", "Karte ein und aus"],
    ],
    cannotShow: "Der Browser kann diese Art von Bild nicht zeigen; das hier hat das Modell bekommen.",
    noPreview: "Der Browser kann das nicht zeigen.",
    dashes: (count = 1) => `Gestrichelt: was vergrößert untersucht wurde. Durchgezogen: ${count > 1 ? `die Umrisse von ${count} gefundenen Bereichen; das Risiko gilt für alle zusammen.` : "der Umriss der gefundenen Läsion."}`,
    lifted: "Karte ausgeschaltet; O zeigt sie wieder.",
  },

  scale: {
    title: "Maßstab und Größe",
    unknown: "Der Maßstab dieses Bildes ist nicht bekannt.",
    file: "Der Maßstab steht in der Datei.",
    own: "Vom Befunder kalibriert; für dieses Bild, bis der Tab geschlossen wird.",
    calibrate: "Am Lineal kalibrieren",
    remove: "Kalibrierung entfernen",
    marks: [
      "Wählen Sie einen Strich des Lineals. Ohne Maus: vergrößern, mit Pfeiltasten verschieben; Enter nimmt die Stelle unter dem Kreuz.",
      "Nun einen zweiten Strich, möglichst weit entfernt.",
    ],
    distance: "Abstand beider Striche",
    use: "Übernehmen",
    invalid: (wide = "", least = 0, most = 0) => `Das Bild wäre ${wide} mm breit; möglich sind ${least} bis ${most} mm. Prüfen Sie Länge und Striche.`,
    size: (along = "", across = "", least = false, own = false) => `Läsion ${least ? "mindestens" : "etwa"} ${along} × ${across} mm, längs und quer im gefundenen Umriss; Maßstab ${own ? "vom Befunder kalibriert" : "aus der Datei"}.`,
  },

  overlays: {
    title: "Wohin das Modell geschaut hat",
    map: "Karte",
    none: "Keine",
    kinds: maps,
    opacity: "Deckkraft der Karte",
    split: "Ohne | mit Karte",
    box: "Ausschnitt",
    outline: "Umriss der Läsion",
    frame: "Eingabe des Modells zeigen",
    scales: {
      lesion: ["0", "1", "Läsions-Aufmerksamkeit"],
      spatial: ["1×", "1,5× oder mehr", "einer durchschnittlichen Stelle"],
      correlation: ["1×", "2,5× oder mehr", "eines durchschnittlichen Paares von Stellen"],
    },
    legend: (low = "", high = "", unit = "") => `Farben von ${low} bis ${high}, ${unit}.`,
    placesCrop: "Diese Karte legt den gestrichelten Ausschnitt fest, der vergrößert untersucht wird.",
    notMeasured: "Wie stark diese Karte Antworten beeinflusst, wurde nicht gemessen.",
    influence: (half = 0, most = 0, advice = 0, images = 0, where = "") =>
      `Gemessen an ${where}: Ohne beide ändert sich das Risiko bei der Hälfte der Bilder um höchstens ${number(half * 100)} Prozentpunkte und bei 95 von 100 um höchstens ${number(most * 100)}, die Empfehlung bei ${advice} von ${images}.`,
    slight: "Diese Karten erklären also wenig von einer Antwort.",
    relate: "Wählen Sie eine Stelle im gestrichelten Ausschnitt (Klick oder Pfeile und Enter; Esc löst): Womit verbindet das Modell sie?",
    spotMoved: (row = 0, column = 0, rows = 0, columns = 0) => `Stelle in Zeile ${row} von ${rows}, Spalte ${column} von ${columns}. Enter zeigt Zusammenhänge.`,
    outside: "Die Stelle liegt außerhalb des Ausschnitts.",
    says: (summary, where, spot = false) => {
      const of = summary.region === "crop" ? "des Ausschnitts" : "des Bildes";
      const name = summary.map === "lesion" ? named.lesion : `${named[summary.map]}, ${branches[summary.branch]}${spot ? ", zur gewählten Stelle" : ""}`;
      const unit = summary.map === "lesion" ? "" : " × des Durchschnitts";
      if (!summary.evident) return `${name}: nichts sticht hervor; überall unter ${number(summary.evidence_level)}${unit}, daher nicht gezeichnet.`;
      if (summary.peaks.length) return `${name}: am höchsten ${allOf(summary.peaks.map((peak) => `${peakAt(peak)} (${number(peak.value)}×)`))}; 1× ist die durchschnittliche Stelle.`;
      return `${name}: Schwerpunkt ${where} ${of}; ${percent(summary.share)} ${of} bei ${number(summary.evidence_level)}${unit} oder mehr, höchster Wert ${number(summary.peak)}${unit}.`;
    },
    places: [
      ["oben links", "oben", "oben rechts"],
      ["links", "in der Mitte", "rechts"],
      ["unten links", "unten", "unten rechts"],
    ],
  },

  key: {
    title: "Zugangsschlüssel",
    why: "Dieser Dienst liest Bilder nur für Inhaber eines Schlüssels. Er bleibt im Speicher dieses Tabs, bis der geschlossen wird.",
    field: "Schlüssel",
    refused: "Der Dienst hat diesen Schlüssel nicht angenommen.",
    use: "Schlüssel verwenden",
  },
  card: { title: "Modellkarte (auf Englisch)", close: "Schließen" },
};
