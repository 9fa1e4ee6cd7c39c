// From a detector's landmarks to the crop that the network takes: plain Kotlin, which knows neither Android nor a detector.
package pocketface

import kotlin.math.ceil
import kotlin.math.floor
import kotlin.math.hypot

/** A point of a photo: x to the right, y down, in pixels; whole numbers are the centres of pixels. */
data class Point(val x: Double, val y: Double)

/** A point that was found on a face, and where it must lie in the crop. */
data class Anchor(val found: Point, val wanted: Point)

private fun wanted(point: Int) = Point(TEMPLATE[2 * point], TEMPLATE[2 * point + 1])

private fun middle(points: List<Point>) = Point(points.sumOf { it.x } / points.size, points.sumOf { it.y } / points.size)

/**
 * Gives the anchors of two eyes' centres and two mouth corners, in whichever order a detector calls them left and right,
 * and of the nose's tip where there is one. Where a detector gives the nose's base instead, that loses less than no
 * nose at all.
 *
 * ML Kit: `FaceLandmark.LEFT_EYE`, `RIGHT_EYE`, `MOUTH_LEFT`, `MOUTH_RIGHT`; with contours, the tip is the last point of
 * `FaceContour.NOSE_BRIDGE`, without them take `FaceLandmark.NOSE_BASE`.
 */
fun anchors(eyes: List<Point>, noseTip: Point?, mouthCorners: List<Point>): List<Anchor> {
    require(eyes.size == 2 && mouthCorners.size == 2) { "two eyes and two mouth corners are needed" }
    val above = middle(eyes)
    val below = middle(mouthCorners)
    // Seen upright, what lies left has the smaller x: so points are told apart along the line across the face.
    fun across(point: Point) = (point.x - above.x) * (below.y - above.y) - (point.y - above.y) * (below.x - above.x)
    val found = eyes.sortedBy(::across) + listOf(noseTip) + mouthCorners.sortedBy(::across)
    return found.withIndex().mapNotNull { (i, point) -> point?.let { Anchor(it, wanted(i)) } }
}

/** Gives the anchors of MediaPipe's Face Mesh or Face Landmarker: 468 or 478 points, each from 0 to 1 of the photo. */
fun mediaPipeMesh(x: FloatArray, y: FloatArray, photoWidth: Int, photoHeight: Int): List<Anchor> {
    fun at(index: Int) = fromShares(x[index], y[index], photoWidth, photoHeight)
    val eyes = listOf(listOf(33, 133), listOf(362, 263)).map { corners -> middle(corners.map(::at)) }
    return anchors(eyes, at(1), listOf(at(61), at(291)))
}

/** Gives the anchors of MediaPipe's Face Detector, whose mouth is one point: its six points, each from 0 to 1. */
fun mediaPipeDetector(x: FloatArray, y: FloatArray, photoWidth: Int, photoHeight: Int): List<Anchor> {
    val (first, second, nose, mouth) = (0..3).map { fromShares(x[it], y[it], photoWidth, photoHeight) }
    val eyes = anchors(listOf(first, second), nose, listOf(mouth, mouth)).take(3)
    return eyes + Anchor(mouth, middle(listOf(wanted(3), wanted(4))))
}

private fun fromShares(x: Float, y: Float, width: Int, height: Int) = Point(x * width - 0.5, y * height - 0.5)

/** Rotation, scale and shift, never a mirror image: crop x = a * x - b * y + dx, crop y = b * x + a * y + dy. */
class Similarity(val a: Double, val b: Double, val dx: Double, val dy: Double)

/** Gives the one that brings what was found nearest to where it must lie, by the sum of squared distances. */
fun similarityOf(anchors: List<Anchor>): Similarity {
    val from = middle(anchors.map { it.found })
    val to = middle(anchors.map { it.wanted })
    var along = 0.0
    var across = 0.0
    var size = 0.0
    for ((found, wanted) in anchors) {
        val (x, y) = Point(found.x - from.x, found.y - from.y)
        val (u, v) = Point(wanted.x - to.x, wanted.y - to.y)
        along += x * u + y * v
        across += x * v - y * u
        size += x * x + y * y
    }
    require(anchors.size >= 2 && size > 0 && size.isFinite()) { "the landmarks coincide or are no numbers" }
    val a = along / size
    val b = across / size
    return Similarity(a, b, to.x - a * from.x + b * from.y, to.y - b * from.x - a * from.y)
}

/** A part of a photo in pixels. */
class Part(val left: Int, val top: Int, val width: Int, val height: Int)

/** Gives how many pixels of the photo, along x and along y, become one of the crop: as many are averaged. */
private fun step(similarity: Similarity) = maxOf(1, floor(1 / hypot(similarity.a, similarity.b) + 1e-6).toInt())

/** Gives the part of a photo that a crop needs, so that the rest need not be read. */
fun partFor(similarity: Similarity, photoWidth: Int, photoHeight: Int): Part {
    val step = step(similarity)
    val corners = listOf(-1 to -1, WIDTH to -1, -1 to HEIGHT, WIDTH to HEIGHT).map { (x, y) -> back(similarity, x, y) }
    fun range(values: List<Double>, size: Int): Pair<Int, Int> {
        val low = floor(values.min() / step - 2).coerceIn(0.0, ((size - 1) / step).toDouble()).toInt() * step
        val high = ceil(values.max() + 3 * step).coerceIn(low + 1.0, size.toDouble()).toInt()
        return Pair(low, high - low)
    }
    val (left, width) = range(corners.map { it.x }, photoWidth)
    val (top, height) = range(corners.map { it.y }, photoHeight)
    return Part(left, top, width, minOf(height, photoHeight - top))
}

private fun back(similarity: Similarity, cropX: Int, cropY: Int): Point {
    val length = similarity.a * similarity.a + similarity.b * similarity.b
    val u = cropX - similarity.dx
    val v = cropY - similarity.dy
    return Point((similarity.a * u + similarity.b * v) / length, (similarity.a * v - similarity.b * u) / length)
}

/**
 * Cuts the crop: HEIGHT * WIDTH pixels 0xAARRGGBB, bilinear, black beyond the photo's edge. Where two or more pixels of
 * the photo become one of the crop, along x and along y, they are averaged first.
 *
 * @param argb the pixels of `part`, row by row
 */
fun cut(argb: IntArray, part: Part, similarity: Similarity): IntArray {
    require(argb.size == part.width * part.height) { "${argb.size} pixels are not ${part.width} x ${part.height}" }
    val step = step(similarity)
    val small = if (step > 1) average(argb, part.width, part.height, step) else argb
    val width = (part.width + step - 1) / step
    val height = (part.height + step - 1) / step
    return IntArray(HEIGHT * WIDTH) { i ->
        val place = back(similarity, i % WIDTH, i / WIDTH)
        val x = (place.x - part.left + 0.5) / step
        val y = (place.y - part.top + 0.5) / step
        if (x < 0 || x >= width || y < 0 || y >= height) BLACK else between(small, width, height, x - 0.5, y - 0.5)
    }
}

private const val BLACK = 0xFF shl 24
private val SHIFTS = intArrayOf(16, 8, 0)

private fun between(argb: IntArray, width: Int, height: Int, x: Double, y: Double): Int {
    val left = floor(x).toInt()
    val top = floor(y).toInt()
    val columns = intArrayOf(maxOf(left, 0), minOf(left + 1, width - 1))
    val rows = intArrayOf(maxOf(top, 0), minOf(top + 1, height - 1))
    return SHIFTS.fold(BLACK) { pixel, shift ->
        val (above, below) = rows.map { row ->
            val (first, second) = columns.map { column -> ((argb[row * width + column] shr shift) and 0xFF).toDouble() }
            first + (second - first) * (x - left)
        }
        pixel or ((above + (below - above) * (y - top)).toInt() shl shift)
    }
}

/** Gives the means of squares of `step` x `step` pixels; those at the right and lower edge may be smaller. */
private fun average(argb: IntArray, width: Int, height: Int, step: Int): IntArray {
    val columns = (width + step - 1) / step
    val rows = (height + step - 1) / step
    return IntArray(columns * rows) { i ->
        val xs = i % columns * step until minOf(i % columns * step + step, width)
        val ys = i / columns * step until minOf(i / columns * step + step, height)
        val count = xs.count() * ys.count()
        SHIFTS.fold(BLACK) { pixel, shift ->
            val sum = ys.sumOf { y -> xs.sumOf { x -> (argb[y * width + x] shr shift) and 0xFF } }
            pixel or ((sum + count / 2) / count shl shift)
        }
    }
}
