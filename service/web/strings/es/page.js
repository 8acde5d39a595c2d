/** The words around an answer in Spanish. */

import { allOf, number, percent, wholePercent } from "../../format.js";

/** @import { Peak } from "../../types.js" */

const maps = { lesion: "Lesión", spatial: "Espacial", correlation: "Correlación" };
const named = { lesion: "Atención a la lesión", spatial: "Atención espacial", correlation: "Atención de correlación" };
const branches = { mean: "ambas ramas", 1: "rama 1", 2: "rama 2" };

const sides = { upper_left: ", arriba a la izquierda", top: ", arriba", upper_right: ", arriba a la derecha", left: ", a la izquierda", middle: "", right: ", a la derecha", lower_left: ", abajo a la izquierda", bottom: ", abajo", lower_right: ", abajo a la derecha" };

/** "en el borde de la lesión, arriba a la izquierda" @param {Peak} peak */
function peakAt({ lesion, place }) {
  if (lesion === "outside") return `fuera de la lesión${sides[place]}`;
  if (lesion === "edge") return `en el borde de la lesión${sides[place]}`;
  return `dentro ${lesion ? "de la lesión" : "del recorte"}${sides[place]}`;
}

/** @type {typeof import("../en/page.js").text} */
export const text = {
  skip: "Ir a la imagen",
  purpose: "Riesgo de melanoma a partir de una imagen dermatoscópica.",
  research: "Software de investigación, no es un producto sanitario.",
  statement: "No apto para diagnóstico, triaje ni decisiones de tratamiento. Los mapas no prueban que una respuesta sea correcta.",
  language: "Idioma",
  cancel: "Cancelar",

  tools: { label: "Herramientas", new: "Nueva imagen", list: "Lista", compare: "Comparar", print: "Imprimir", time: "Evolución", theme: "Claro u oscuro" },

  start: {
    title: "Suelte aquí imágenes dermatoscópicas",
    touch: "Tome o elija imágenes dermatoscópicas",
    ways: "o péguelas desde el portapapeles; varias a la vez o una carpeta",
    choose: "Elegir imágenes",
    folder: "Elegir una carpeta",
    take: "Tomar una foto",
    attach: "Acople primero el dermatoscopio a la cámara. Una sola lesión, enfocada, que ocupe un tercio de la imagen.",
    formats: "JPEG, PNG, WebP, TIFF, BMP, AVIF o DICOM. Se envían solo a este servicio; no se guardan los archivos ni sus nombres.",
    examples: "O pruebe un ejemplo",
    impression: "Preguntar antes por mi impresión",
  },
  examples: {
    melanoma: { title: "Lesión oscura e irregular", known: "Diagnóstico conocido: melanoma. El modelo incluido se entrenó con ella, entre otras." },
    nevus: { title: "Lesión roja y marrón", known: "Conocido: nevus. El modelo no se entrenó con esta imagen." },
  },

  picture: (count) => `Imagen ${count}`,
  example: (count = 0) => `Imagen ${count}, un ejemplo`,

  progress: {
    sending: (share = 0) => `Enviando, ${wholePercent(share)}`,
    waiting: "Leyendo la imagen",
    queued: "En espera",
    retry: (seconds = 0) => `El servicio está ocupado; nuevo intento en ${seconds} s`,
    slow: "La conexión es lenta.",
    shrink: "Enviar una copia más pequeña",
  },

  problem: {
    again: "Intentar de nuevo",
    another: "Elegir otra imagen",
    kept: "Su imagen sigue aquí.",
    wait: (seconds = 0) => `El servicio pide esperar ${seconds} ${seconds === 1 ? "segundo" : "segundos"}.`,
    says: "El servicio dice:",
    kinds: {
      "malformed-request": { title: "No se pudo enviar como imagen", detail: true },
      conflict: { title: "Hay que enviar la imagen de nuevo", detail: true },
      "too-large": { title: "La imagen es demasiado grande", text: "Envíe una copia más pequeña:", detail: true },
      "unsupported-type": { title: "No es una imagen que el servicio lea", text: "Cuenta el contenido, no el nombre:", detail: true },
      "undecodable-picture": { title: "No se puede leer la imagen", detail: true },
      unauthorized: { title: "El servicio pide una clave de acceso", text: "Pídala a la persona que lo administra." },
      "queue-full": { title: "El servicio está ocupado", text: "Está leyendo todas las imágenes que puede." },
      "rate-limited": { title: "Demasiadas imágenes en poco tiempo", text: "Su acceso no permite más por ahora." },
      "not-ready": { title: "El servicio no está listo", text: "Está arrancando, parando o no superó su autocomprobación." },
      "insufficient-storage": { title: "El servicio no tiene sitio para una respuesta", text: "La persona que lo administra debe hacer sitio." },
      "request-timeout": { title: "El envío tardó demasiado", text: "La conexión fue demasiado lenta para el servicio." },
      "deadline-exceeded": { title: "Sin respuesta a tiempo", text: "El servicio tardó demasiado." },
      stalled: { title: "El envío se detuvo", text: "No se envió nada durante medio minuto." },
      unreachable: { title: "No se puede contactar con el servicio", text: "La conexión está cortada o no está en marcha." },
      "not-found": { title: "El servicio ya no guarda esta respuesta", text: "Las respuestas caducan al cabo de un tiempo. Envíe la imagen de nuevo para ver más." },
      changed: { title: "El modelo acaba de cambiar", text: "Envíe la imagen de nuevo." },
      unknown: { title: "El servicio falló", text: "Inténtelo de nuevo; si no ayuda, avise a la persona que lo administra." },
    },
  },

  session: {
    title: "Esta sesión (no se guarda)",
    summary: (refer = 0, none = 0, below = 0, failed = 0, open = 0) =>
      [
        refer && `${refer} derivar`,
        none && `${none} sin valoración`,
        failed && `${failed} con error`,
        below && `${below} sin derivación`,
        open && `${open} pendientes`,
      ].filter(Boolean).join(", "),
    abstained: "Sin valoración",
    covered: "Respuesta tapada",
    failed: "Error",
    retry: (name = "") => `Intentar de nuevo: ${name}`,
    retryAll: "Reintentar todas las fallidas",
    deleteAll: "Borrar todo",
    all: (count = 0) => `Las ${count}`,
    why: "Se guarda en esta pestaña hasta cerrarla. Primero las derivaciones por riesgo, después las imágenes sin valoración.",
    remove: (name = "") => `Borrar ${name}`,
    deleted: (name = "") => `Borrado: ${name}.`,
    undo: "Deshacer",
    deletedEverywhere: (name = "") => `Borrado aquí y en el servicio: ${name}.`,
    deletedHere: (name = "") => `Borrado aquí: ${name}. El servicio no lo confirmó; allí caduca por sí solo.`,
    stays: (name = "") => `${name} ya no está en esta lista. Lo anotado en la evolución permanece.`,
    restored: (name = "") => `De vuelta: ${name}.`,
    full: (most = 0, left = 0) => `Solo caben ${most} imágenes a la vez: ${left} sin tomar. Borre antes algunas.`,
  },

  viewer: {
    label: "Visor de imagen",
    zoom: "Zoom",
    in: "Acercar",
    out: "Alejar",
    fit: "Ajustar la imagen",
    native: "Píxeles originales",
    turn: "Girar",
    full: "Pantalla completa",
    light: "Brillo y contraste",
    lightMeans: "Solo de lo que se muestra; la respuesta no cambia.",
    brightness: "Brillo",
    contrast: "Contraste",
    keys: "Teclas del visor",
    keyList: [
      ["Flechas", "mover la imagen"],
      ["O", "mostrar u ocultar el mapa"],
    ],
    cannotShow: "El navegador no puede mostrar este tipo de imagen; esto es lo que recibió el modelo.",
    noPreview: "El navegador no puede mostrarla.",
    dashes: (count = 1) => `Línea discontinua: el recorte examinado ampliado. Línea continua: ${count > 1 ? `los contornos de ${count} zonas encontradas; el riesgo es el de todas juntas.` : "el contorno de la lesión encontrada."}`,
    lifted: "Mapa oculto; pulse O para verlo de nuevo.",
  },

  scale: {
    title: "Escala y tamaño",
    unknown: "No se conoce la escala de esta imagen.",
    file: "La escala es la que indica el archivo.",
    own: "Calibrada por quien la lee; para esta imagen, hasta cerrar la pestaña.",
    calibrate: "Calibrar con la regla",
    remove: "Quitar la calibración",
    marks: [
      "Elija una marca de la regla en la imagen. Sin ratón: acerque, mueva la imagen con las flechas; Intro toma lo que está bajo la cruz.",
      "Ahora otra marca, lo más lejos posible.",
    ],
    distance: "Distancia entre ambas marcas",
    use: "Usar",
    invalid: (wide = "", least = 0, most = 0) => `Así la imagen mediría ${wide} mm de ancho; puede medir de ${least} a ${most} mm. Revise la longitud o elija otras marcas.`,
    size: (along = "", across = "", least = false, own = false) => `Lesión de ${least ? "al menos" : "unos"} ${along} × ${across} mm, a lo largo y a lo ancho del contorno hallado; escala ${own ? "calibrada por quien la lee" : "del archivo"}.`,
  },

  overlays: {
    title: "Dónde miró el modelo",
    map: "Mapa",
    none: "Ninguno",
    kinds: maps,
    opacity: "Opacidad del mapa",
    split: "Sin | con el mapa",
    box: "Recorte",
    outline: "Contorno de la lesión",
    frame: "Mostrar la entrada del modelo",
    scales: {
      lesion: ["0", "1", "Atención a la lesión"],
      spatial: ["1×", "1,5× o más", "el punto medio"],
      correlation: ["1×", "2,5× o más", "el par de puntos medio"],
    },
    legend: (low = "", high = "", unit = "") => `Los colores van de ${low} a ${high}, ${unit}.`,
    placesCrop: "Este mapa fija el recorte discontinuo, que se examina ampliado.",
    notMeasured: "No se ha medido cuánto influye este mapa en las respuestas.",
    influence: (half = 0, most = 0, advice = 0, images = 0, where = "") =>
      `Medido en ${where}: sin la atención espacial y de correlación, el riesgo cambia como mucho ${number(half * 100)} puntos porcentuales en la mitad de las imágenes y ${number(most * 100)} en 95 de 100; el consejo, en ${advice} de ${images}.`,
    slight: "Así que estos mapas explican poco de una respuesta.",
    relate: "Elija un punto dentro del recorte (clic, o flechas e Intro; Esc lo suelta) para ver con qué lo relaciona el modelo.",
    spotMoved: (row = 0, column = 0, rows = 0, columns = 0) => `Punto en la fila ${row} de ${rows}, columna ${column} de ${columns}. Intro muestra lo relacionado.`,
    outside: "El punto está fuera del recorte.",
    says: (summary, where, spot = false) => {
      const of = summary.region === "crop" ? "del recorte" : "de la imagen";
      const name = summary.map === "lesion" ? named.lesion : `${named[summary.map]}, ${branches[summary.branch]}${spot ? ", relacionada con el punto" : ""}`;
      const unit = summary.map === "lesion" ? "" : " × la media";
      if (!summary.evident) return `${name}: nada destaca; queda por debajo de ${number(summary.evidence_level)}${unit} en todas partes, así que no se dibuja.`;
      if (summary.peaks.length) return `${name}: lo más alto, ${allOf(summary.peaks.map((peak) => `${peakAt(peak)} (${number(peak.value)}×)`))}; 1× es el punto medio.`;
      return `${name}: centrada ${where} ${of}; ${percent(summary.share)} ${of} con ${number(summary.evidence_level)}${unit} o más, el valor más alto es ${number(summary.peak)}${unit}.`;
    },
    places: [
      ["arriba a la izquierda", "arriba", "arriba a la derecha"],
      ["a la izquierda", "en el centro", "a la derecha"],
      ["abajo a la izquierda", "abajo", "abajo a la derecha"],
    ],
  },

  key: {
    title: "Clave de acceso",
    why: "Este servicio lee imágenes solo para quien tiene una clave. Queda en la memoria de esta pestaña hasta cerrarla.",
    field: "Clave",
    refused: "El servicio no aceptó esa clave.",
    use: "Usar la clave",
  },
  card: { title: "Ficha del modelo (en inglés)", close: "Cerrar" },
};
